package agent

import "time"

// Protocol is how a call is made.
type Protocol string

// The protocols. With TCP the client speaks first, with ServerFirst the server.
const (
	HTTP        Protocol = "http"
	H2C         Protocol = "h2c"
	GRPC        Protocol = "grpc"
	TCP         Protocol = "tcp"
	ServerFirst Protocol = "tcp-server-first"
	// Connect only opens a TCP connection: any listener answers it, agent or not.
	Connect Protocol = "connect"
)

// Ports that an agent serves on; all but the control port listen on every address of the pod.
const (
	PortHTTP        = 8080
	PortHTTPSecond  = 8081
	PortH2C         = 8082
	PortGRPC        = 9000
	PortTCP         = 7000
	PortServerFirst = 7001
	// PortTCPReady is open only while the agent is ready, for TCP readiness probes.
	PortTCPReady = 7002
	// PortControl listens on loopback only: clients in the pod (or with a port-forward) control the agent.
	PortControl = 7999
)

// Paths of the probes, on every HTTP port.
const (
	PathReady = "/ready"
	PathLive  = "/live"
)

// ServiceLive is the service whose gRPC health reports whether the agent is live; that of "" says
// whether it is ready.
const ServiceLive = "live"

// Call is one request to another agent.
type Call struct {
	Protocol Protocol `json:"protocol"`
	// Address is host:port.
	Address string `json:"address"`
	// Keep makes the calls of a load use one connection: HTTP keep-alive, one gRPC stream, or one TCP connection, on
	// which the client speaks first. The load opens another when it breaks. Other protocols do not have it.
	Keep bool `json:"keep,omitempty"`
}

// Seen is what a server saw of a call, and the server's name.
type Seen struct {
	// Server is the host name of the pod that answered.
	Server string `json:"server"`
	// Protocol that the request arrived by, such as HTTP/1.1.
	Protocol string `json:"protocol"`
	// Port that it arrived at.
	Port int `json:"port"`
	// Peer is the URI of the client certificate that the proxy in front of the server verified; ""
	// if no proxy says so, and with the TCP protocols, which cannot carry it.
	Peer string `json:"peer,omitempty"`
	// Source is the address that the connection came from: the pod's own proxy, or the client.
	Source string `json:"source"`
	// Leaving is whether the server's gRPC health says that it does not serve: an answer, which sends a client elsewhere.
	Leaving bool `json:"leaving,omitempty"`
}

// Answer is the result of a call: Seen, or Error.
type Answer struct {
	Seen  Seen   `json:"seen"`
	Error string `json:"error,omitempty"`
}

// OK reports whether the server answered.
func (a Answer) OK() bool { return a.Error == "" }

// State is what the probes of an agent answer.
type State struct {
	Ready bool `json:"ready"`
	Live  bool `json:"live"`
}

// Load is a set of calls to repeat, independently, until the agent ends.
type Load struct {
	Calls    []Call        `json:"calls"`
	Interval time.Duration `json:"interval"`
}

// Stall is the time above which a successful call counts as stalled.
const Stall = 250 * time.Millisecond

// Tally counts the results of a load since it was started.
type Tally struct {
	// Started tells one load from another.
	Started   time.Time `json:"started"`
	Succeeded int       `json:"succeeded"`
	Failed    int       `json:"failed"`
	// Leaving counts the successful calls whose server said that it leaves.
	Leaving int `json:"leaving,omitempty"`
	// Stalled counts the successful calls that took longer than Stall.
	Stalled int `json:"stalled"`
	// Slowest is the longest time that a successful call took since the tally was last read.
	Slowest time.Duration `json:"slowest"`
	// Oldest is when the oldest of the calls began that have not ended yet.
	Oldest time.Time `json:"oldest,omitzero"`
	// Failures are the first of those that failed, or the first of those that the reader does not know yet.
	Failures []Failure `json:"failures,omitempty"`
	// Servers that answered, by host name.
	Servers map[string]int `json:"servers"`
}

// Failure is one call that failed.
type Failure struct {
	At    time.Time     `json:"at"`
	Took  time.Duration `json:"took"`
	Call  Call          `json:"call"`
	Error string        `json:"error"`
}
