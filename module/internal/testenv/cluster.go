package testenv

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

const (
	clusterNodes    = 6
	clusterReplicas = 3
	clusterSlots    = "16384"
	nodeTimeout     = "1500" // ms without an answer until a node counts as failed
)

// Cluster is a Redis Cluster of three masters with a replica each.
type Cluster struct {
	Addrs []string // of the nodes, in their order
	Nodes []*RedisServer
}

// RedisCluster starts a cluster, and returns when every node serves and knows all slots and roles,
// and the replicas are in sync. About 3 s after a master was killed, its replica takes over.
func RedisCluster(tb testing.TB) *Cluster {
	tb.Helper()
	c := &Cluster{}
	for range clusterNodes {
		node := newRedis(tb, func(_ *RedisServer, port int) []string {
			return []string{
				"--port", strconv.Itoa(port), "--cluster-enabled", "yes", "--cluster-node-timeout", nodeTimeout,
				"--repl-diskless-sync-delay", "0", // otherwise replicas wait 5 s for others
			}
		})
		c.Nodes, c.Addrs = append(c.Nodes, node), append(c.Addrs, node.Addr)
	}
	create := append([]string{"--cluster", "create"}, c.Addrs...)
	c.Nodes[0].CLI(append(create, "--cluster-replicas", "1", "--cluster-yes")...)
	await(tb, c.Nodes, c.missing)
	return c
}

// missing returns why the cluster is not ready, or "" if it is.
func (c *Cluster) missing() string {
	for _, node := range c.Nodes {
		if what := node.missingInCluster(); what != "" {
			return node.Addr + ": " + what
		}
	}
	return ""
}

func (s *RedisServer) missingInCluster() string {
	state, err := s.ask("CLUSTER", "INFO")
	if err != nil {
		return err.Error()
	}
	nodes, err := s.ask("CLUSTER", "NODES")
	if err != nil {
		return err.Error()
	}
	replication, err := s.ask("INFO", "replication")
	if err != nil {
		return err.Error()
	}
	roles := strings.Fields(nodes[0])
	replicas := 0
	for _, word := range roles {
		if word == "slave" || word == "myself,slave" {
			replicas++
		}
	}
	switch {
	case field(state[0], "cluster_state") != "ok", field(state[0], "cluster_slots_ok") != clusterSlots:
		return "it does not serve: " + state[0]
	case field(state[0], "cluster_known_nodes") != strconv.Itoa(clusterNodes), replicas != clusterReplicas:
		return fmt.Sprintf("it knows %d replicas: %s", replicas, nodes[0])
	case field(replication[0], "connected_slaves") != "1" &&
		field(replication[0], "master_link_status") != "up":
		return "it is alone: " + replication[0]
	}
	return ""
}
