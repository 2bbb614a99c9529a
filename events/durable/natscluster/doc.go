// Package natscluster runs NATS JetStream inside the calling process: one server, or a
// cluster whose nodes can be killed, restarted and cut off from each other.
//
// It is for tests and for trying things out. Three nodes in one process survive the loss
// of a node and not the loss of the process, which is what a cluster is for.
//
// # What a fault is here
//
// Every node reaches every other through a proxy of its own, which this package holds.
//
//   - [Cluster.CutOff] stalls all proxies to and from a node, as a network does that drops
//     packets: connections stay open and nothing comes through. Clients still reach the
//     node, and it takes some seconds to learn that it is alone.
//   - [Cluster.Kill] breaks those connections first, so that the node can hand its
//     leaderships to nobody, and then stops the server. Its files are flushed while it
//     stops. The loss of what a server had in its memory, or the operating system in its
//     own, cannot be shown inside one process.
//
// A node keeps its name, folder and client address when it comes back.
package natscluster
