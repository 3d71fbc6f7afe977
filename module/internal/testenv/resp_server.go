package testenv

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// RedisReplying starts a RESP2 server that answers every command with reply, a line of RESP such as
// "-READONLY You can't write against a read only replica.". So that clients can connect, AUTH,
// CLIENT and SELECT succeed, and HELLO is an unknown command. It returns its address, host:port.
func RedisReplying(tb testing.TB, reply string) (addr string) {
	tb.Helper()
	listener := listenAnywhere(tb)
	var (
		accepting, serving sync.WaitGroup
		conns              []net.Conn
	)
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil { // it is closed
				return
			}
			conns = append(conns, conn)
			serving.Go(func() { answerAll(conn, strings.TrimRight(reply, "\r\n")) })
		}
	})
	tb.Cleanup(func() {
		_ = listener.Close() // it is closed once only
		accepting.Wait()
		for _, conn := range conns {
			_ = conn.Close() // may be closed already
		}
		serving.Wait()
	})
	return listener.Addr().String()
}

// answerAll answers the commands of a client until it disconnects or sends something else.
func answerAll(conn net.Conn, reply string) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		command, err := readValue(r)
		if err != nil || len(command) == 0 {
			return
		}
		answer := reply
		switch strings.ToUpper(command[0]) {
		case "HELLO":
			answer = "-ERR unknown command 'HELLO'"
		case "AUTH", "CLIENT", "SELECT":
			answer = "+OK"
		}
		if _, err := io.WriteString(conn, answer+"\r\n"); err != nil {
			return
		}
	}
}
