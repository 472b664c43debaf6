package rotation_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/osm-edge/osm/pkg/controlplane/rotation"
)

// delivery is the longest time that the kubelets of the model take.
const delivery = 3 * time.Minute

// world is a mesh during rotations. All participants learn of changes late, in random order.
type world struct {
	random   *rand.Rand
	now      time.Time
	roots    []stored
	replicas []*replica // controllers and injectors
	pods     []*pod
	secrets  map[string]*rotation.Secret
	webhook  []string // CAs in the caBundle
	serving  string   // CA of the certificate in the injectors' Secret
	refused  bool     // the caBundle cannot be written
	drivers  [2]driver
	plan     func([]rotation.Root, rotation.Evidence) rotation.Step
	made     int // replicas and pods so far, for their names
}

// stored is a root's object with its resource version.
type stored struct {
	rotation.Root
	version int
}

type replica struct {
	name      string
	component rotation.Component
	view      []rotation.Root
	signer    string // what it signs with
	serving   string
	leads     bool
	cutOff    bool // it reaches nothing but its proxies
}

type pod struct {
	name, account string
	at            *replica // nil while not connected
	trusts        []string // acknowledged
	root          string   // of its leaf
	// What the kubelet has delivered.
	fileTrusts []string
	fileSigner string
}

func newWorld(seed uint64) *world {
	w := &world{
		random: rand.New(rand.NewPCG(seed, 1)), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		secrets: map[string]*rotation.Secret{}, plan: rotation.Planner{Delivery: delivery}.Plan,
	}
	for _, name := range []string{"a", "b", "c"} {
		w.roots = append(w.roots, stored{rotation.Root{Name: name, Role: rotation.Inactive, Fingerprint: "ca-" + name}, 1})
	}
	w.roots[0].Role = rotation.Active
	w.webhook, w.serving = []string{"ca-a"}, "ca-a"
	for range 3 {
		w.startReplica(rotation.Controller)
	}
	w.startReplica(rotation.Injector)
	w.startReplica(rotation.Injector)
	for range 6 {
		w.startPod()
	}
	return w
}

func (w *world) current() []rotation.Root {
	roots := make([]rotation.Root, len(w.roots))
	for i, r := range w.roots {
		roots[i] = r.Root
	}
	return roots
}

// startReplica starts a replica, which reads the roots before it serves.
func (w *world) startReplica(component rotation.Component) {
	w.made++
	r := &replica{name: fmt.Sprintf("%s-%d", component, w.made), component: component}
	r.sync(w)
	if r.serving = r.signer; component == rotation.Injector {
		r.serving = w.serving
	}
	r.leads = component == rotation.Controller && !slices.ContainsFunc(w.replicas, func(r *replica) bool { return r.leads })
	w.replicas = append(w.replicas, r)
}

func (r *replica) sync(w *world) {
	if r.cutOff || r.component == rotation.Injector {
		return
	}
	r.view = w.current()
	if signer, ok := rotation.Signer(r.view); ok {
		r.signer = signer.Fingerprint
	}
}

func (r *replica) bundle() []string {
	var cas []string
	for _, root := range rotation.Trusted(r.view) {
		cas = append(cas, root.Fingerprint)
	}
	return cas
}

// startPod makes a pod of one of three accounts; it comes up once it has its Secret and a replica.
func (w *world) startPod() {
	w.made++
	p := &pod{name: fmt.Sprintf("shop/pod-%d", w.made), account: fmt.Sprintf("shop/account-%d", w.random.IntN(3))}
	if w.secrets[p.account] == nil {
		w.writeSecret(p.account)
	}
	secret := w.secrets[p.account]
	if secret == nil {
		return // no leader: the pod waits
	}
	p.fileTrusts, p.fileSigner = secret.Trusts, secret.Signer
	p.at = w.controller()
	p.trusts, p.root = p.at.bundle(), p.at.signer
	w.pods = append(w.pods, p)
}

func (w *world) writeSecret(account string) {
	for _, r := range w.replicas {
		if !r.leads || r.cutOff {
			continue
		}
		next := &rotation.Secret{Account: account, Trusts: r.bundle(), Signer: r.signer, Serial: fmt.Sprint(w.random.Int()), Since: w.now}
		if old := w.secrets[account]; old != nil && old.Signer == next.Signer && slices.Equal(old.Trusts, next.Trusts) {
			next.Since = old.Since
		}
		w.secrets[account] = next
	}
}

func (w *world) controller() *replica {
	return pick(w, slices.DeleteFunc(slices.Clone(w.replicas), func(r *replica) bool { return r.component != rotation.Controller }))
}

func pick[T any](w *world, from []T) T { return from[w.random.IntN(len(from))] }

// step makes one random change.
func (w *world) step() {
	w.pass(time.Duration(w.random.IntN(20)) * time.Second)
	switch w.random.IntN(22) {
	case 0, 1, 2:
		pick(w, w.replicas).sync(w)
	case 3, 4:
		w.serve(pick(w, w.replicas))
		w.keepWebhook()
	case 5, 6, 7, 8:
		if len(w.pods) > 0 {
			w.receive(pick(w, w.pods))
		}
	case 9, 10:
		w.writeSecret(fmt.Sprintf("shop/account-%d", w.random.IntN(3)))
	case 11, 12, 13, 14, 15, 16:
		w.drive(&w.drivers[w.random.IntN(2)])
	default:
		w.trouble(w.random.IntN(40))
	}
}

// trouble makes one rare change.
func (w *world) trouble(kind int) {
	switch kind {
	case 0, 1, 2:
		w.kill(w.random.IntN(len(w.replicas)))
	case 3, 4:
		w.startPod()
	case 5, 6:
		if len(w.pods) > 3 {
			w.pods = slices.Delete(w.pods, 0, 1)
		}
	case 7, 8: // a proxy loses its connection
		if len(w.pods) > 0 {
			pick(w, w.pods).at = nil
		}
	case 9, 10: // another replica becomes the leader
		for _, r := range w.replicas {
			r.leads = false
		}
		w.controller().leads = true
	case 15:
		pick(w, w.replicas).cutOff = true
	case 16, 17, 18:
		for _, r := range w.replicas {
			r.cutOff = false
		}
	case 19:
		w.refused = true
	case 20, 21:
		w.refused = false
	case 11:
		w.drivers[w.random.IntN(2)] = driver{} // it ends before the write
	case 12:
		w.ask()
	}
}

// ask lets a user start a rotation, or abort the current one.
func (w *world) ask() {
	name := pick(w, w.roots).Name
	if _, under := rotation.Goal(w.current()); under {
		back, err := rotation.Abort(w.current())
		if err != nil {
			return
		}
		name = back.Name
	}
	i := slices.IndexFunc(w.roots, func(r stored) bool { return r.Name == name })
	w.roots[i].WantedAt = w.now
	w.roots[i].version++
}

// serve renews a controller's serving certificate, or lets an injector take the one in its Secret.
func (w *world) serve(r *replica) {
	switch {
	case r.component == rotation.Controller:
		r.serving = r.signer
	case !r.cutOff:
		r.serving = w.serving
	}
}

// keepWebhook lets the leader write the caBundle or the injectors' Secret according to the roots that it has
// seen, in any order. The product has a fixed order, but the evidence must not depend on that.
func (w *world) keepWebhook() {
	for _, r := range w.replicas {
		switch {
		case !r.leads || r.cutOff:
		case w.random.IntN(2) == 0:
			if !w.refused {
				w.webhook = r.bundle()
			}
		default:
			w.serving = r.signer
		}
	}
}

// receive lets a proxy take the bundle, or, after that, the certificate that its replica has for
// it. A proxy that is not connected connects.
func (w *world) receive(p *pod) {
	switch {
	case p.at == nil:
		p.at = w.controller()
	case !slices.Equal(p.trusts, p.at.bundle()):
		p.trusts = p.at.bundle()
	default:
		p.root = p.at.signer
	}
}

// kill ends a replica and starts another; its proxies are disconnected for a while.
func (w *world) kill(i int) {
	dead := w.replicas[i]
	w.replicas = slices.Delete(w.replicas, i, i+1)
	w.startReplica(dead.component)
	for _, p := range w.pods {
		if p.at == dead {
			p.at = nil
		}
	}
}

// pass advances the clock. Kubelets deliver Secrets at a random time within their limit.
func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	for _, p := range w.pods {
		secret := w.secrets[p.account]
		if w.now.Sub(secret.Since) >= delivery || w.random.IntN(60) == 0 {
			p.fileTrusts, p.fileSigner = secret.Trusts, secret.Signer
		}
	}
}

// broken returns which guarantee is currently violated, or "".
func (w *world) broken() string {
	inUse := map[string]string{}
	for _, p := range w.pods {
		inUse[p.root] = p.name
	}
	for _, p := range w.pods {
		for root, user := range inUse {
			if !slices.Contains(p.trusts, root) {
				return fmt.Sprintf("%s uses a leaf of %s, and %s trusts %v", user, root, p.name, p.trusts)
			}
		}
		for _, r := range w.replicas {
			if r.component == rotation.Controller && !slices.Contains(p.fileTrusts, r.serving) {
				return fmt.Sprintf("%s serves with %s, and the file of %s trusts %v", r.name, r.serving, p.name, p.fileTrusts)
			}
			if r.component == rotation.Controller && !slices.Contains(r.bundle(), p.fileSigner) {
				return fmt.Sprintf("the file of %s is signed by %s, and %s trusts %v", p.name, p.fileSigner, r.name, r.bundle())
			}
		}
	}
	for _, r := range w.replicas {
		if r.component == rotation.Injector && !slices.Contains(w.webhook, r.serving) {
			return fmt.Sprintf("%s serves with %s, and the API server trusts %v", r.name, r.serving, w.webhook)
		}
	}
	return ""
}

// settle stops the failures, and returns how many rounds the rotation took to complete.
func (w *world) settle() (rounds int, ok bool) {
	w.drivers, w.refused = [2]driver{}, false
	for rounds = range 60 {
		if _, under := rotation.Goal(w.current()); !under {
			return rounds, true
		}
		for _, r := range w.replicas {
			r.cutOff = false
			r.sync(w)
		}
		for range 20 {
			w.keepWebhook()
			for _, r := range w.replicas {
				w.serve(r)
			}
		}
		for _, p := range w.pods {
			w.receive(p)
			w.receive(p)
			w.receive(p)
		}
		for account := range w.secrets {
			w.writeSecret(account)
		}
		w.pass(delivery)
		for w.drive(&w.drivers[0]); w.drivers[0].read != nil; {
			w.drive(&w.drivers[0])
		}
		if problem := w.broken(); problem != "" {
			return rounds, false
		}
	}
	return rounds, false
}
