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
	"github.com/jackc/pgx/v5/pgxpool"
)

// CheckDSN returns what is wrong with a DSN, without repeating any of it.
func CheckDSN(text string) error {
	_, err := parseDSN(text)
	return err
}

// complaints are what the library says against a DSN, and what we say instead: it repeats parts of what it did not understand,
// which may be parts of a password.
var complaints = []struct{ theirs, ours string }{
	{"failed to parse as URL", "it is no URL such as postgres://user:password@host:5432/database: in the user and the password, write special characters as %40 and the like"},
	{"failed to parse as keyword/value", "it is neither a URL such as postgres://user:password@host:5432/database, nor keywords and values such as host=… user=… password=… dbname=…"},
	{"invalid port", "the port is not a number: if there is a slash in the password, write it as %2F"},
	{"port numbers", "there are not as many ports as hosts"},
	{"failed to configure TLS", "compare sslmode, sslrootcert, sslcert and sslkey with what is there: disable, allow, prefer, require, verify-ca, verify-full, and files that can be read"},
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
		for _, c := range complaints {
			if strings.Contains(err.Error(), c.theirs) {
				return nil, errors.New("the DSN of the history's database cannot be used: " + c.ours)
			}
		}
		return nil, errors.New("the DSN of the history's database cannot be used: write postgres://user:password@host:5432/database")
	}
	conn := config.ConnConfig
	// A password with an @ or a slash in it, taken literally, ends too early. What is left of it would be taken for the host or
	// the database, which errors name.
	for _, name := range append(hosts(conn), conn.Database) {
		if strings.ContainsAny(name, "@?#") || strings.Contains(name, "://") {
			return nil, errors.New("the DSN of the history's database cannot be used: the host or the database has an @, a ? or a # in it: in the user and the password, write special characters as %40 and the like")
		}
	}
	return config, nil
}

// hosts returns the names of all servers of a configuration, each once.
func hosts(conn *pgx.ConnConfig) []string {
	names := []string{conn.Host}
	for _, f := range conn.Fallbacks {
		if !slices.Contains(names, f.Host) {
			names = append(names, f.Host)
		}
	}
	return names
}

// serverOf returns where a configuration leads, for people: host:port/database, without the login.
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

// configure parses a DSN and sets what it leaves open.
func configure(dsn string, dial func(ctx context.Context, network, addr string) (net.Conn, error)) (*pgxpool.Config, error) {
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
	if conn.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		// Named statements belong to a session, which a pooler may give to somebody else.
		conn.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	conn.DialFunc = dial
	return config, nil
}

// sockets are the open connections. Cutting them ends whatever waits for one, for which the library would wait up to 15 s.
type sockets struct {
	life context.Context // ends what is being dialed

	mu   sync.Mutex
	open map[*socket]struct{}
	shut bool
}

type socket struct {
	net.Conn
	of *sockets
}

func (s *sockets) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
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

// cut closes all connections. There are no new ones.
func (s *sockets) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = true
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
