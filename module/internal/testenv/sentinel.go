package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	sentinels = 3
	quorum    = 2 // how many sentinels must agree

	// masterName is the name of the watched master.
	masterName = "main"
)

// Sentinel is a Redis master with a replica, watched by three sentinels.
type Sentinel struct {
	Addrs     []string // of the sentinels, in their order
	Master    string   // the name of the master at the sentinels
	Nodes     []*RedisServer
	Sentinels []*RedisServer

	tb testing.TB
}

// RedisSentinel starts a master, a replica and the sentinels. It returns when all sentinels know
// each other and the replica, and the replica is in sync. The sentinels replace a master that does
// not answer for 500 ms.
func RedisSentinel(tb testing.TB) *Sentinel {
	tb.Helper()
	s := &Sentinel{Master: masterName, tb: tb}
	master := newNode(tb)
	replica := newNode(tb, "--replicaof", "127.0.0.1 "+master.port())
	s.Nodes = []*RedisServer{master, replica}
	// Sentinels ask the master for its replicas only every 10 s, so the replica
	// must be there before they start.
	await(tb, s.Nodes, func() string {
		info, err := replica.ask("INFO", "replication")
		if err != nil {
			return err.Error()
		}
		if field(info[0], "master_link_status") != "up" {
			return "the replica has no master: " + info[0]
		}
		return ""
	})
	for range sentinels {
		one := newSentinel(tb, master.port())
		s.Sentinels, s.Addrs = append(s.Sentinels, one), append(s.Addrs, one.Addr)
	}
	await(tb, s.Sentinels, s.missing)
	return s
}

func newNode(tb testing.TB, args ...string) *RedisServer {
	tb.Helper()
	// otherwise a replica waits 5 s for others
	return Redis(tb, append(args, "--repl-diskless-sync-delay", "0")...)
}

// newSentinel starts redis-server as a sentinel, like redis-sentinel. It stores its
// state in its configuration file.
func newSentinel(tb testing.TB, masterPort string) *RedisServer {
	tb.Helper()
	return newServer(tb, func(s *RedisServer, port int) []string {
		path := filepath.Join(s.dir, "sentinel.conf")
		conf := strings.Join([]string{
			"port " + strconv.Itoa(port),
			"bind 127.0.0.1",
			fmt.Sprintf("sentinel monitor %s 127.0.0.1 %s %d", masterName, masterPort, quorum),
			"sentinel down-after-milliseconds " + masterName + " 500",
			"sentinel failover-timeout " + masterName + " 3000",
			"",
		}, "\n")
		if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
			tb.Fatal(err)
		}
		return []string{path, "--sentinel"}
	})
}

// missing returns why the sentinels cannot replace the master yet, or "" if they can.
func (s *Sentinel) missing() string {
	for _, one := range s.Sentinels {
		master, err := one.ask("SENTINEL", "MASTER", s.Master)
		if err != nil {
			return err.Error()
		}
		if value(master, "num-other-sentinels") != strconv.Itoa(sentinels-1) ||
			value(master, "num-slaves") != "1" ||
			value(master, "flags") != "master" {
			return fmt.Sprintf("%s knows %q of the master", one.Addr, master)
		}
		replica, err := one.ask("SENTINEL", "REPLICAS", s.Master)
		if err != nil {
			return err.Error()
		}
		if value(replica, "flags") != "slave" || value(replica, "master-link-status") != "ok" {
			return fmt.Sprintf("%s knows %q of the replica", one.Addr, replica)
		}
	}
	return ""
}

// value returns the value of a name in a list of names and values, or "".
func value(pairs []string, name string) string {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] == name {
			return pairs[i+1]
		}
	}
	return ""
}

// MasterAddr returns the address of the current master, host:port, according to most sentinels.
func (s *Sentinel) MasterAddr() string {
	s.tb.Helper()
	best, votes := "", map[string]int{}
	for _, one := range s.Sentinels {
		answer, err := one.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.Master)
		if err != nil || len(answer) != 2 {
			continue
		}
		addr := answer[0] + ":" + answer[1]
		if votes[addr]++; votes[addr] > votes[best] {
			best = addr
		}
	}
	if best == "" {
		s.tb.Fatal("no sentinel knows the master")
	}
	return best
}

// KillMaster kills the current master. After 1 s to 3 s, the sentinels make the replica the master.
// When the old master is started again, it becomes a replica after up to 15 s. Until then, no
// second failover is possible.
func (s *Sentinel) KillMaster() {
	s.tb.Helper()
	addr := s.MasterAddr()
	for _, node := range s.Nodes {
		if node.Addr == addr {
			node.Stop()
			return
		}
	}
	s.tb.Fatalf("the sentinels take %s for the master, which is none of the nodes", addr)
}
