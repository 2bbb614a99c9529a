// Package natslog is the log for a host that must survive the loss of a machine: package
// events in a stream of NATS JetStream, replicated over a cluster.
package natslog
