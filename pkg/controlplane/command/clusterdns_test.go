package command

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestClusterDNS(t *testing.T) {
	const kubelet = "search osm-system.svc.corp.example svc.corp.example corp.example nodes.example\nnameserver 10.96.0.10\noptions ndots:5\n"
	for name, test := range map[string]struct {
		value, file, domain, servers, refused string
	}{
		"a pod of the cluster":         {file: kubelet, domain: "corp.example", servers: "10.96.0.10"},
		"the value wins":               {value: "k8s.example", file: kubelet, domain: "k8s.example", servers: "10.96.0.10"},
		"a value with a trailing dot":  {value: "k8s.example.", domain: "k8s.example"},
		"no file":                      {domain: "cluster.local"},
		"a host's file":                {file: "search nodes.example\nnameserver 192.0.2.53\n", domain: "cluster.local"},
		"another namespace's file":     {file: strings.ReplaceAll(kubelet, "osm-system", "shop"), domain: "cluster.local"},
		"a domain that is none":        {file: strings.ReplaceAll(kubelet, "svc.corp.example", "svc.CORP_example"), domain: "cluster.local"},
		"no domain":                    {file: "search osm-system.svc.\nnameserver 10.96.0.10\n", domain: "cluster.local"},
		"the last search list counts":  {file: "search osm-system.svc.old.example\n" + kubelet, domain: "corp.example", servers: "10.96.0.10"},
		"several servers":              {file: kubelet + "nameserver fd00::a\nnameserver 169.254.20.10\n", domain: "corp.example", servers: "10.96.0.10 fd00::a 169.254.20.10"},
		"servers of this host or link": {file: kubelet + "nameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver ::\nnameserver x\n", domain: "corp.example", servers: "10.96.0.10"},
		"a value that is no domain":    {value: "Corp_Example", refused: `--cluster-domain "Corp_Example": want the domain that the kubelets' clusterDomain names`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := chooseDNS(test.value, test.file, "osm-system")
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("%v, want %q", err, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var want []netip.Addr
			for _, server := range strings.Fields(test.servers) {
				want = append(want, netip.MustParseAddr(server))
			}
			if got.domain != test.domain || !slices.Equal(got.servers, want) {
				t.Errorf("domain %s, servers %v; want %s, %v", got.domain, got.servers, test.domain, want)
			}
		})
	}
}
