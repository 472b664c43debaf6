//go:build e2e

package e2e

import (
	"math"
	"slices"
	"time"
)

const (
	// soon is how long the last proxy may take to be in sync when only a replica of the control plane is gone.
	soon = 5 * time.Second
	// startTime is how long a controller takes to start and to configure all proxies, on a busy machine.
	startTime = 45 * time.Second
	// unlimited is for faults that the mesh answers by allowing no calls.
	unlimited = math.MaxInt
)

// faults is the table. An event has no undo; what lasts has one, and its time in sync counts from there.
//
// Some faults of the field are not in it. A clock that jumps: all processes of the cluster share the machine's, which no
// namespace covers; TestLeavesAfterPause, TestAcquireAfterPauseIsFresh and TestServingCertRenewsItself jump forward and backward with
// injected time. A certificate provider that is away: TestProviders, which has one on its cluster. Servers without retries:
// the mesh has no setting that turns them off.
func (c *chaosMesh) faults() []fault {
	return slices.Concat(controllerFaults(), apiServerFaults(), objectFaults(), appFaults(), nodeFaults())
}

// possible leaves out a fault that needs what this run does not have.
func (c *chaosMesh) possible(f fault) bool { return f.name != rolledBack || c.env.previousImage != "" }

const rolledBack = "the control plane rolled back to the commit before, and upgraded again"

func controllerFaults() []fault {
	return []fault{
		{name: "nothing", do: nothing, within: soon},
		{name: "kill -9 of the controller with most proxies", ci: true, do: killController(0), within: soon},
		{name: "kill -9 of the controller with fewest proxies", do: killController(1), within: soon},
		{name: "kill -9 of the leader", do: killLeader, within: soon},
		{name: "a controller's pod deleted without grace", do: deleteController, within: soon},
		{name: "controllers restarted one after another", ci: true, do: rollControllers, within: soon},
		{name: "kill -9 of all controllers at once", ci: true, do: killControllers, within: startTime},
		{name: "controllers scaled to 1 and to 3", do: scaleControllers(1, 3), within: soon, undo: scaleBack},
		{name: rolledBack, do: rollBack, lasts: 10 * time.Second, undo: rollForward, within: soon, most: inFlight, why: whyStarts},
		{name: "controllers scaled to 3, 1 and 10", do: scaleControllers(3, 1, 10), within: soon, undo: scaleBack},
		{name: "no controller", ci: true, do: noControllers, lasts: 20 * time.Second, undo: scaleBack, within: startTime},
		{
			name: "no controller while an Envoy dies, endpoints change and a pod starts", long: true, do: longWithoutController,
			lasts: 10 * time.Minute, undo: controllersAndFlexBack, within: startTime, most: inFlight, why: whyDead + whyLeaves,
		},
		{name: "a controller killed by the kernel for its memory", do: outOfMemory, within: soon},
		{name: "controllers throttled to a tenth of a CPU", do: throttle(allControllers), lasts: 15 * time.Second, undo: heal, within: soon},
		{name: "one controller throttled to a tenth of a CPU", do: throttle(notLeader), lasts: 15 * time.Second, undo: heal, within: soon},
		{name: "the leader frozen", do: freeze(onlyLeader), lasts: 40 * time.Second, undo: heal, within: soon},
		{name: "another controller frozen", do: freeze(notLeader), lasts: 40 * time.Second, undo: heal, within: soon},
		{name: "an injector frozen while a pod starts", do: freezeInjector, undo: thawInjector, within: soon},
		{name: "injectors restarted one after another", do: rollInjectors, within: soon},
		{name: "kill -9 of an injector while a pod starts", do: killInjector, within: soon, undo: flexBack},
		{name: "no injector while a pod starts", ci: true, do: noInjector, undo: injectorBack, within: soon},
		{name: "a pod's proxy is slow, silent, refuses everything and reconnects without end", do: attack, lasts: 30 * time.Second, undo: heal, within: soon},
		{name: "no DNS, and kill -9 of a controller", do: noDNS, undo: dnsBack, lasts: 10 * time.Second, within: soon},
	}
}

func apiServerFaults() []fault {
	return []fault{
		{name: "API server killed and started again", ci: true, do: killDaemons(false, apiServer), lasts: 10 * time.Second, undo: startDaemons, within: startTime},
		{name: "API server slow: it runs a tenth of the time", do: slow(apiServer), lasts: 30 * time.Second, undo: heal, within: soon},
		{name: "API server paused", do: pause(apiServer), lasts: 15 * time.Second, undo: resume(apiServer), within: soon},
		// Afterwards Kubernetes takes all nodes for lost and makes all pods unready; proxies use them all the same.
		{name: "API server paused for longer than nodes may be silent", do: pause(apiServer), lasts: 40 * time.Second, undo: resume(apiServer), within: soon},
		{name: "scheduler and controllers of Kubernetes killed", do: killDaemons(false, "kube-scheduler", "kube-controller-manager"), lasts: 15 * time.Second, undo: startDaemons, within: startTime},
		{name: "etcd paused", do: pause(etcd), lasts: 20 * time.Second, undo: resume(etcd), within: soon},
		{name: "API server paused, and kill -9 of a controller", do: killControllerMeanwhile, lasts: 20 * time.Second, undo: resume(apiServer), within: startTime},
		{name: "the leader loses all packets of the API server", do: deaf(onlyLeader), lasts: 40 * time.Second, undo: heal, within: soon},
		{name: "another controller loses all packets of the API server", do: deaf(notLeader), lasts: 40 * time.Second, undo: heal, within: soon},
		{name: "all controllers lose all packets of the API server", do: deaf(allControllers), lasts: 40 * time.Second, undo: heal, within: soon},
		{name: "packets from a node's proxies to their controller are lost", do: silent(true, false), lasts: time.Minute, undo: heal, within: soon},
		{name: "packets from a controller to a node's proxies are lost", do: silent(false, true), lasts: time.Minute, undo: heal, within: soon},
		{name: "packets between a node's proxies and their controller are lost", do: silent(true, true), lasts: time.Minute, undo: heal, within: soon},
	}
}

func objectFaults() []fault {
	return []fault{
		{name: "the Lease deleted", do: deleteLease, within: soon},
		{name: "the root's Secret deleted", ci: true, do: deleteRoot, within: soon},
		{name: "the root's Secret deleted, and kill -9 of a controller", do: deleteRootAndKill, within: soon},
		{name: "the root's Secret emptied", do: otherRoot(emptied), lasts: 10 * time.Second, undo: heal, within: soon},
		{name: "the root's Secret replaced by nonsense", do: otherRoot(replaced), lasts: 10 * time.Second, undo: heal, within: soon},
		{
			name: "proxies' Secrets deleted while a pod starts", do: deleteProxySecrets, lasts: 15 * time.Second, undo: proxySecretsBack, within: soon,
			most: inFlight, why: "proxies that run do not need the Secret again, and a pod that starts waits until the leader has put it back" + whyLeaves,
		},
		{name: "the webhook's Secret deleted while a pod starts", do: deleteWebhookSecret, undo: flexBack, within: soon},
		{
			name: "the definition of MeshConfigs deleted, and the mesh's with it", do: deleteDefinition, lasts: 20 * time.Second, undo: heal, within: startTime,
			most: unlimited, why: "without a MeshConfig the mesh allows what one without settings does: no calls. The controllers look for a definition that is " +
				"back after longer and longer pauses",
		},
		{name: "the definition of MeshConfigs of an older version", do: olderDefinition, lasts: 20 * time.Second, undo: heal, within: soon},
		{name: "objects that the mesh cannot honor", ci: true, do: badObjects, undo: heal, within: soon},
	}
}

// inFlight is how many requests may be lost with a server: each call of each client has one in flight, or a connection that
// is held. With a node, those of its own client are counted apart.
const inFlight, inFlightOfOthers = nodes * 8, (nodes - 1) * 8

const (
	whyLeaving = "a held TCP connection, or gRPC stream, ends with its server"
	whyLeaves  = ". The pod that starts leaves again: " + whyLeaving
	whyStarts  = "the pod that starts leaves again: " + whyLeaving
	whyDead    = "requests in flight at the server that dies"
	whyNode    = "requests in flight on the lost node. Others wait for it for 2 s at most, until the proxies have ejected its servers"
)

func appFaults() []fault {
	return []fault{
		{name: "servers scaled to 4 and back to 1", ci: true, do: scaleServers, within: soon, most: inFlight, why: whyLeaving},
		{name: "servers rolled", do: rollServers, within: soon, most: inFlight, why: whyLeaving},
		{name: "a server evicted", do: evictServer, within: soon, most: inFlight, why: whyLeaving},
		{name: "a server deleted without grace", do: killServer, within: soon, most: inFlight, why: whyDead},
		{
			name: "a server deleted without grace, without any controller", do: killServerWithoutController, lasts: 20 * time.Second, undo: scaleBack, within: startTime,
			most: inFlight, why: whyDead + ". Nobody tells the proxies that it is gone: they eject it themselves",
		},
		{name: "kill -9 of a server's Envoy", ci: true, do: killEnvoy, within: soon, most: inFlight, why: whyDead},
		{
			name: "kill -9 of a client's Envoy", do: killClientsEnvoy, within: soon, why: "until the kubelet has started the proxy again, its own application reaches nothing",
		},
	}
}

func nodeFaults() []fault {
	return []fault{
		{name: "the leader's node drained", ci: true, do: drainNode, undo: heal, within: soon, most: inFlight, why: whyLeaving},
		{
			name: "the leader's node cut off", do: loseNode("cut", "heal", nodeOfLeader), lasts: 40 * time.Second, undo: heal, within: startTime,
			most: inFlightOfOthers, why: whyNode,
		},
		{name: "a node's kube-proxy killed", do: killDaemons(true, "kube-proxy"), lasts: 15 * time.Second, undo: startDaemons, within: soon},
		{name: "a node's disk full, and kill -9 of its controller", do: fullDisk, lasts: 20 * time.Second, undo: heal, within: soon},
		{name: "a node's kubelet killed", do: killDaemons(true, "kubelet"), lasts: 30 * time.Second, undo: startDaemons, within: soon},
		{
			name: "a node without a controller cut off", do: loseNode("cut", "heal", nodeWithout), lasts: 20 * time.Second, undo: heal, within: startTime,
			most: inFlightOfOthers, why: whyNode,
		},
		{
			name: "the leader's node loses power", do: loseNode("stop", "start", nodeOfLeader), lasts: 30 * time.Second, undo: heal, within: startTime,
			most: inFlightOfOthers, why: whyNode,
		},
	}
}
