package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// ErrUnavailable means that Redis is unavailable, so that no call was made.
var ErrUnavailable = errors.New("redis is away")

// Result is the outcome of one exchange. Its names are values of the metrics' result label.
type Result uint8

// The results.
const (
	// OK: Redis answered.
	OK Result = iota
	// Timeout: no answer in time.
	Timeout
	// Unreachable: connecting failed, or the connection broke.
	Unreachable
	// Denied: the user, the password or the permissions are wrong.
	Denied
	// ReadOnly: the server is a replica, which refuses writes.
	ReadOnly
	// Full: the server has no memory left, and its settings forbid eviction.
	Full
	// Failed: any other error, such as a server that is loading its data or a cluster that is
	// incomplete.
	Failed
	// Skipped: no call was made, since Redis is unavailable.
	Skipped

	// NumResults is the number of results.
	NumResults = iota
)

var resultNames = [NumResults]string{"ok", "timeout", "unreachable", "denied", "read_only", "full", "error", "skipped"}

// String returns the name of the result.
func (r Result) String() string {
	if int(r) < len(resultNames) {
		return resultNames[r]
	}
	return fmt.Sprintf("Result(%d)", uint8(r))
}

// refusal reports whether the server answers but refuses, until an operator changes something.
func (r Result) refusal() bool { return r == Denied || r == ReadOnly || r == Full }

// cures are what an operator can do about each result.
var cures = [NumResults]string{
	Timeout: "look at the network and at the load of the server, allow a longer `timeout`, " +
		"or see whether only one side expects `tls`",
	Unreachable: "see that the server runs and can be reached from here",
	Denied: "check the user, the password, and the permissions of the user: +@read +@write +@scripting +@connection " +
		"+@pubsub +time ~<prefix>:* &<prefix>:*, and of a Cluster +cluster|slots +command",
	ReadOnly: "name the master, or use `sentinel` or `cluster`, which follow it",
	Full:     "give the server more memory, or let it evict: maxmemory-policy volatile-lru",
	Failed:   "look at the log of the server",
}

// causes are texts in errors that call for a more specific cure than the result's.
var causes = []struct{ text, cure string }{
	{errCredentials.Error(), "see that the password can be read where Caddy runs"},
	{"x509:", "compare the server's certificate with `ca` and `server_name` of `tls`"},
	{"certificate required", "give `tls` a `certificate` that the server accepts"},
	{"tls:", "see whether the server expects TLS, and compare it with `tls`"},
	{"EOF", "see that the server runs, and whether it expects `tls`; look at its log"},
	{"MOVED ", "the server is part of a Redis Cluster: write `cluster`"},
	{"unknown command", "the server does not know our commands: is it a Sentinel, which needs `sentinel <master>`?"},
	{"redis: nil", "the Sentinels know no master of this name: compare it with `sentinel`"},
	{"redis answered with", "see whether it is Redis that answers at this address, and who else writes to `prefix`"},
	{"sentinel", "look at the Sentinels, and whether they ask for `sentinel_password`"},
	{"DB index is out of range", "the server has fewer databases: write a lower `database`"},
	{"WRONGTYPE ", "a key of ours holds something else: see who else writes to `prefix`, and delete the key"},
	{"CLUSTERDOWN", "some of the Cluster's slots have no server: look at `redis-cli cluster info`"},
}

// cureOf returns what an operator can do about an error.
func cureOf(r Result, err error) string {
	for _, t := range causes {
		if strings.Contains(err.Error(), t.text) {
			return t.cure
		}
	}
	return cures[r]
}

// ResultOf classifies an error of the library or of a method of Client. No other code does.
func ResultOf(err error) Result {
	var network net.Error
	var server goredis.Error
	switch {
	case err == nil:
		return OK
	case errors.Is(err, ErrUnavailable):
		return Skipped
	case goredis.IsAuthError(err), goredis.IsPermissionError(err), errors.Is(err, errCredentials), deniedInScript(err):
		return Denied
	case goredis.IsReadOnlyError(err), readOnlyInScript(err):
		return ReadOnly
	case goredis.IsOOMError(err):
		return Full
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout(),
		errors.Is(err, goredis.ErrPoolTimeout):
		return Timeout
	case errors.As(err, &server):
		return Failed
	}
	return Unreachable
}

// deniedInScript reports whether a script lacked a permission. Redis 7.0 has no error code for
// that.
func deniedInScript(err error) bool {
	var server goredis.Error
	if !errors.As(err, &server) {
		return false
	}
	text := server.Error()
	return strings.HasPrefix(text, "ERR ACL failure in script") ||
		strings.HasPrefix(text, "ERR The user executing the script")
}

// readOnlyInScript reports whether a script tried to write to a replica. Before Redis 7, the error has
// another beginning.
func readOnlyInScript(err error) bool {
	var server goredis.Error
	return errors.As(err, &server) && strings.HasPrefix(server.Error(), "ERR Error running script") &&
		strings.Contains(server.Error(), "-READONLY ")
}

// errCredentials marks an error of Options.Credentials.
var errCredentials = errors.New("no credentials")
