package postgres

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// CheckDSN returns what is wrong with a DSN. The error repeats no part of it.
func CheckDSN(text string) error {
	_, err := parseDSN(text)
	return err
}

// parseErrors replaces the errors of the library. The library repeats what it could not parse,
// which may be a part of the password.
var parseErrors = []struct{ contains, message string }{
	{
		"failed to parse as URL",
		"it is no URL such as postgres://user:password@host:5432/database: " +
			"in the user and the password, write special characters as %40 and the like",
	},
	{
		"failed to parse as keyword/value",
		"it is neither a URL such as postgres://user:password@host:5432/database, " +
			"nor keywords and values such as host=… user=… password=… dbname=…",
	},
	{"invalid port", "the port is not a number: if there is a slash in the password, write it as %2F"},
	{"port numbers", "there are not as many ports as hosts"},
	{
		"failed to configure TLS",
		"compare sslmode, sslrootcert, sslcert and sslkey with what is there: " +
			"disable, allow, prefer, require, verify-ca, verify-full, and files that can be read",
	},
	{"connect_timeout", "connect_timeout is a number of seconds"},
	{"target_session_attrs", "target_session_attrs is any, read-write or primary"},
	{"failed to read service", "the service is not in the service file"},
	{"pool_", "a setting that begins with pool_ is not what it should be"},
}

func parseDSN(text string) (*pgxpool.Config, error) {
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("the DSN of the history's database is empty: write postgres://user:password@host:5432/database")
	}
	config, err := pgxpool.ParseConfig(text)
	if err != nil {
		for _, c := range parseErrors {
			if strings.Contains(err.Error(), c.contains) {
				return nil, errors.New("the DSN of the history's database cannot be used: " + c.message)
			}
		}
		return nil, errors.New("the DSN of the history's database cannot be used: " +
			"write postgres://user:password@host:5432/database")
	}
	conn := config.ConnConfig
	// An unescaped @ or slash ends the password too early. Its rest would become the host or the
	// database, which errors name.
	for _, name := range append(hosts(conn), conn.Database) {
		if strings.ContainsAny(name, "@?#") || strings.Contains(name, "://") {
			return nil, errors.New("the DSN of the history's database cannot be used: " +
				"the host or the database has an @, a ? or a # in it: " +
				"in the user and the password, write special characters as %40 and the like")
		}
	}
	return config, nil
}

// hosts returns the servers of a configuration, without duplicates.
func hosts(conn *pgx.ConnConfig) []string {
	names := []string{conn.Host}
	for _, f := range conn.Fallbacks {
		if !slices.Contains(names, f.Host) {
			names = append(names, f.Host)
		}
	}
	return names
}

// serverOf returns host:port/database for people to read, without the login.
func serverOf(conn *pgx.ConnConfig) string {
	place := func(host string, port uint16) string {
		if strings.HasPrefix(host, "/") {
			return host
		}
		return net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	places := []string{place(conn.Host, conn.Port)}
	for _, f := range conn.Fallbacks {
		if p := place(f.Host, f.Port); !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	return strings.Join(places, ",") + "/" + conn.Database
}

// maxMessage is how many bytes one message of the server may have. By default, the library makes
// room for a gigabyte if a mail server at the wrong port says "220 ".
const maxMessage = 4 << 20

// configure parses a DSN and sets defaults.
func configure(dsn string, dial pgconn.DialFunc) (*pgxpool.Config, error) {
	config, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	config.MaxConns, config.MinConns, config.MinIdleConns = maxConns, 0, 0
	conn := config.ConnConfig
	if conn.ConnectTimeout <= 0 {
		conn.ConnectTimeout = connectTimeout
	}
	if conn.RuntimeParams["application_name"] == "" {
		conn.RuntimeParams["application_name"] = "caddy-ip-reputation"
	}
	conn.RuntimeParams["timezone"] = "UTC"
	conn.MaxProtocolMessageBodyLen = maxMessage
	if conn.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		// Named statements belong to a session, which a pooler may share with other clients.
		conn.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	conn.DialFunc = dial
	return config, nil
}

// sockets are the open connections. Closing them ends calls that wait for the server. The library
// alone would wait up to 15 s.
type sockets struct {
	ctx context.Context // its end cancels dialing

	mu     sync.Mutex
	open   map[*socket]struct{}
	closed bool
}

type socket struct {
	net.Conn
	of *sockets
}

func (s *sockets) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	if s.open == nil {
		s.open = make(map[*socket]struct{})
	}
	one := &socket{conn, s}
	s.open[one] = struct{}{}
	return one, nil
}

// closeAll closes all connections and refuses new ones.
func (s *sockets) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for one := range s.open {
		_ = one.Conn.Close()
	}
}

// Close closes the connection.
func (s *socket) Close() error {
	s.of.mu.Lock()
	delete(s.of.open, s)
	s.of.mu.Unlock()
	return s.Conn.Close()
}
