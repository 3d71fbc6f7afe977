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
	quorum    = 2 // how many sentinels make it true

	// masterName is what the sentinels call the master that they watch.
	masterName = "main"
)

// Sentinel is a Redis master with a replica, watched by three sentinels.
type Sentinel struct {
	Addrs     []string // of the sentinels, in their order
	Master    string   // the name under which the sentinels know it
	Nodes     []*RedisServer
	Sentinels []*RedisServer

	tb testing.TB
}

// RedisSentinel starts a master, a replica and the sentinels. It is ready when all sentinels know each other and the
// replica, and the replica has its master's data. A master that does not answer for 500 ms is replaced.
func RedisSentinel(tb testing.TB) *Sentinel {
	tb.Helper()
	s := &Sentinel{Master: masterName, tb: tb}
	master := newNode(tb)
	replica := newNode(tb, "--replicaof", "127.0.0.1 "+master.port())
	s.Nodes = []*RedisServer{master, replica}
	// Sentinels find a replica by asking its master, every 10 s: it has to be there when they come.
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
	return Redis(tb, append(args, "--repl-diskless-sync-delay", "0")...) // else a replica waits 5 s for others to join it
}

// newSentinel starts redis-server as a sentinel, which redis-sentinel is another name for. It needs a file to keep what
// it learns in.
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

// missing says what is missing until the sentinels can replace the master, "" when they can.
func (s *Sentinel) missing() string {
	for _, one := range s.Sentinels {
		master, err := one.ask("SENTINEL", "MASTER", s.Master)
		if err != nil {
			return err.Error()
		}
		if value(master, "num-other-sentinels") != strconv.Itoa(sentinels-1) || value(master, "num-slaves") != "1" ||
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

// value returns what follows name in a list of names and values, "" if there is none.
func value(pairs []string, name string) string {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i] == name {
			return pairs[i+1]
		}
	}
	return ""
}

// MasterAddr returns the address of the present master, host:port, as most sentinels see it.
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

// KillMaster kills the present master. The sentinels make the replica the master, which takes 1 s to 3 s. One that is
// started again becomes a replica, which takes up to 15 s; until then there is no other to take over a second time.
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
