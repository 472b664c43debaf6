// Package debug defines the pages that a controller serves on its loopback debug address: paths and JSON.
//
// The controller writes these types, and osm and the tests read them, so that neither side copies
// them. It holds no code that makes or fetches a page, and its types hold no secret. Its invariant:
// fields are only added, because osm talks to controllers of other versions.
package debug

import "time"

// The paths of the pages.
const (
	// XDSPath is where a controller shows what its proxies hold: XDS.
	XDSPath = "/debug/xds"
	// RebalancePath is where a controller shows its load: Rebalance. A POST makes it send its surplus of proxies to
	// other replicas once.
	RebalancePath = "/debug/rebalance"
	// ActionHeader must be set in a POST. No page in a browser can set it without permission, which nobody gives.
	ActionHeader = "Osm-Debug-Action"
	// RotationPath is where the leading controller shows a rotation of the root.
	RotationPath = "/debug/rotation"
)

// XDS is what a controller knows about the proxies that are connected to it.
type XDS struct {
	Proxies []Proxy `json:"proxies"` // sorted by pod
}

// Proxy is one proxy's stream.
type Proxy struct {
	Pod      string `json:"pod"`
	Identity string `json:"identity"`
	// Variant is that of the protocol: "delta" or "state-of-the-world".
	Variant string    `json:"variant"`
	Since   time.Time `json:"since"`
	// ProxyVersion is Envoy's, such as 1.40.0; "" if the proxy did not say it.
	ProxyVersion string `json:"proxyVersion,omitempty"`
	// CertificateExpires is when the workload certificate that the proxy holds expires.
	CertificateExpires *time.Time `json:"certificateExpires,omitempty"`
	Types              []Type     `json:"types"`
}

// Type is what a proxy was offered of one type of resource.
type Type struct {
	// Type is cds, eds, sds, lds or rds.
	Type     string `json:"type"`
	Wildcard bool   `json:"wildcard,omitempty"`
	// Names is how many resources the proxy subscribed to by name.
	Names int `json:"names,omitempty"`
	// Version is a digest of all resources that the proxy may ask for of the type, as of the last push.
	Version string `json:"version"`
	// Awaiting says that the proxy has not answered the last push yet.
	Awaiting bool        `json:"awaiting,omitempty"`
	LastPush *time.Time  `json:"lastPush,omitempty"`
	Rejected []Rejection `json:"rejected,omitempty"`
}

// Rejection is a response that the proxy rejected (NACK), as far as nothing newer has replaced it.
type Rejection struct {
	// Resources are the first names in it; Count is how many there are.
	Resources []string `json:"resources"`
	Count     int      `json:"count"`
	// Message is the proxy's error, shortened.
	Message string    `json:"message"`
	At      time.Time `json:"at"`
	// Times is how many responses in a row were rejected.
	Times int `json:"times"`
}

// Rebalance is the load of a controller, and what it does about it.
type Rebalance struct {
	// Ready reports whether it is a ready endpoint of its Service. Others neither count nor receive proxies.
	Ready bool `json:"ready"`
	// Proxies are those that it serves. Movable are those that it may send to other replicas now.
	Proxies int `json:"proxies"`
	Movable int `json:"movable"`
	// Continuous says that rebalancing is enabled by the chart.
	Continuous bool `json:"continuous,omitempty"`
	// Ordered says that it is sending its surplus away because of a POST; Moved is how many proxies it has sent away
	// since the last POST.
	Ordered bool `json:"ordered,omitempty"`
	Moved   int  `json:"moved,omitempty"`
	// Why says why the last POST has not made it send away all of its surplus, or not yet.
	Why string `json:"why,omitempty"`
}
