package proxy

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/osm-edge/osm/pkg/api/debug"
	"github.com/osm-edge/osm/pkg/cli/cluster"
)

// Each proxy has the worst state of its types, and a pod without a stream says why it has none.
func TestStatuses(t *testing.T) {
	now := time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	pod := func(name string, phase corev1.PodPhase) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}, Status: corev1.PodStatus{
			Phase: phase, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-2 * time.Minute))}},
		}}
	}
	holds := func(types ...debug.Type) debug.Proxy {
		return debug.Proxy{Pod: "shop/a", Since: now.Add(-time.Hour), Types: types}
	}
	page := func(replica string, proxies ...debug.Proxy) cluster.DebugPage[debug.XDS] {
		return cluster.DebugPage[debug.XDS]{Pod: replica, At: now, Value: debug.XDS{Proxies: proxies}}
	}
	silent := cluster.DebugPage[debug.XDS]{Pod: "osm-controller-1", Err: errors.New("gone")}
	rejection := debug.Rejection{Resources: []string{"l1", "l2", "l3", "l4"}, Count: 5, Message: "no such filter", At: *ago(time.Minute), Times: 3}
	runs := []corev1.Pod{pod("a", corev1.PodRunning)}
	leaving := pod("a", corev1.PodRunning)
	leaving.DeletionTimestamp = &metav1.Time{Time: now}
	hangs := pod("a", corev1.PodPending)
	hangs.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "envoy", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}}}}
	tests := []struct {
		name    string
		fleet   fleet
		want    State // "" if it is not shown
		wrong   bool
		replica string
		says    string
	}{
		{name: "in sync", fleet: fleet{before: runs, after: runs, controllers: []cluster.DebugPage[debug.XDS]{page("c0"), page("c1", holds(debug.Type{Type: "cds", LastPush: ago(time.Hour)}, debug.Type{Type: "lds"}))}}, want: Synced, replica: "c1"},
		{name: "answers soon", fleet: fleet{before: runs, after: runs, controllers: []cluster.DebugPage[debug.XDS]{page("c0", holds(debug.Type{Type: "cds", Awaiting: true, LastPush: ago(answerTime - time.Second)}))}}, want: Synced, replica: "c0"},
		{name: "does not answer", fleet: fleet{before: runs, after: runs, controllers: []cluster.DebugPage[debug.XDS]{page("c0", holds(debug.Type{Type: "cds"}, debug.Type{Type: "eds", Awaiting: true, LastPush: ago(answerTime)}))}}, want: Stale, wrong: true, replica: "c0", says: "eds sent 10 s ago and not answered"},
		{name: "refuses", fleet: fleet{before: runs, after: runs, controllers: []cluster.DebugPage[debug.XDS]{page("c0", holds(debug.Type{Type: "lds", Rejected: []debug.Rejection{rejection}}, debug.Type{Type: "rds", Awaiting: true, LastPush: ago(time.Hour)}))}}, want: Refused, wrong: true, replica: "c0", says: "lds l1, l2, l3 and 2 more, 3 time(s), the last 1 min 00 s ago: no such filter"},
		{name: "connected again, and the old stream is still there", fleet: fleet{before: runs, after: runs, controllers: []cluster.DebugPage[debug.XDS]{
			page("c0", holds(debug.Type{Type: "lds"})), page("c1", debug.Proxy{Pod: "shop/a", Since: now.Add(-2 * time.Hour), Types: []debug.Type{{Type: "lds", Awaiting: true, LastPush: ago(time.Hour)}}})}}, want: Synced, replica: "c0"},
		{name: "expired", fleet: fleet{before: runs, after: runs, controllers: []cluster.DebugPage[debug.XDS]{page("c0", debug.Proxy{Pod: "shop/a", CertificateExpires: ago(time.Minute)})}}, want: Synced, wrong: true, replica: "c0", says: "its certificate expired 1 min 00 s ago"},
		{name: "connected nowhere", fleet: fleet{before: runs, after: runs, controllers: []cluster.DebugPage[debug.XDS]{page("c0")}}, want: Disconnected, wrong: true, says: "connected to no controller"},
		{name: "no controller", fleet: fleet{before: runs, after: runs}, want: Disconnected, wrong: true, says: "no controller is running"},
		{name: "one controller cannot be asked", fleet: fleet{before: runs, after: runs, controllers: []cluster.DebugPage[debug.XDS]{page("c0"), silent}}, want: Unknown, wrong: true, says: "osm-controller-1 could not be asked"},
		{name: "one controller cannot be asked, another knows it", fleet: fleet{before: runs, after: runs, controllers: []cluster.DebugPage[debug.XDS]{page("c0", holds()), silent}}, want: Synced, replica: "c0"},
		{name: "came just now", fleet: fleet{after: runs, controllers: []cluster.DebugPage[debug.XDS]{page("c0")}}},
		{name: "leaves", fleet: fleet{before: runs, after: []corev1.Pod{leaving}, controllers: []cluster.DebugPage[debug.XDS]{page("c0")}}},
		{name: "has gone", fleet: fleet{before: runs, controllers: []cluster.DebugPage[debug.XDS]{page("c0")}}},
		{name: "has ended", fleet: fleet{before: runs, after: []corev1.Pod{pod("a", corev1.PodSucceeded)}, controllers: []cluster.DebugPage[debug.XDS]{page("c0")}}},
		{name: "came just now, and is connected", fleet: fleet{controllers: []cluster.DebugPage[debug.XDS]{page("c0", holds())}}, want: Synced, replica: "c0"},
		{name: "starts", fleet: fleet{before: runs, after: []corev1.Pod{pod("a", corev1.PodPending)}, controllers: []cluster.DebugPage[debug.XDS]{page("c0")}}, want: Starting, says: "its pod is starting"},
		{name: "started meanwhile", fleet: fleet{before: []corev1.Pod{pod("a", corev1.PodPending)}, after: runs, controllers: []cluster.DebugPage[debug.XDS]{page("c0")}}},
		{name: "hangs, and is connected", fleet: fleet{before: runs, after: []corev1.Pod{hangs}, controllers: []cluster.DebugPage[debug.XDS]{page("c0", holds())}}, want: Starting, wrong: true, replica: "c0", says: "for 2 min 00 s"},
		{name: "has ended, and its stream is still there", fleet: fleet{before: runs, after: []corev1.Pod{pod("a", corev1.PodSucceeded)}, controllers: []cluster.DebugPage[debug.XDS]{page("c0", holds())}}},
		{name: "hangs", fleet: fleet{before: runs, after: []corev1.Pod{hangs}, controllers: []cluster.DebugPage[debug.XDS]{page("c0")}}, want: Starting, wrong: true, says: "for 2 min 00 s: no container has started"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.fleet.now = now
			all := tt.fleet.statuses(func(string, string) bool { return true })
			if tt.want == "" {
				if len(all) > 0 {
					t.Errorf("shown as %+v", all)
				}
				return
			}
			if len(all) != 1 || all[0].Pod != "shop/a" {
				t.Fatalf("%+v, want shop/a", all)
			}
			if got := all[0]; got.State != tt.want || got.wrong != tt.wrong || got.Replica != tt.replica || !strings.Contains(got.Reason, tt.says) || (got.Reason == "") != (tt.says == "") {
				t.Errorf("%+v, want %s (wrong: %v) of %q that says %q", got, tt.want, tt.wrong, tt.replica, tt.says)
			}
		})
	}

	// One that is lost once is between two controllers.
	lost, found := status{Pod: "shop/a", State: Disconnected, wrong: true}, status{Pod: "shop/a", State: Synced}
	for _, pair := range [][2]status{{lost, found}, {found, lost}} {
		if got := confirm(pair[:1], pair[1:]); got[0].State != Synced || got[0].wrong {
			t.Errorf("after %s and %s it is %+v", pair[0].State, pair[1].State, got[0])
		}
	}
	if got := confirm([]status{lost}, []status{lost}); got[0].State != Disconnected {
		t.Errorf("lost twice, it is %+v", got[0])
	}

	var order []string
	f := fleet{now: now, before: []corev1.Pod{pod("b", corev1.PodRunning), pod("a", corev1.PodRunning), pod("other", corev1.PodRunning)}}
	f.after = f.before
	for _, s := range f.statuses(func(namespace, name string) bool { return namespace == "shop" && name != "other" }) {
		order = append(order, s.Pod)
	}
	if diff := cmp.Diff([]string{"shop/a", "shop/b"}, order); diff != "" {
		t.Errorf("order and filter:\n%s", diff)
	}
}
