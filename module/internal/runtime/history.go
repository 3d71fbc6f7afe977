package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/privacy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/request"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// ErrNoHistory means that the configuration stores no history.
var ErrNoHistory = errors.New("no history is kept: add `history {env.DATABASE_URL}` to the global ip_reputation options")

// Database is a database in use by one or more configurations.
type Database struct {
	*postgres.DB

	recorder atomic.Pointer[recorder.Recorder] // whose batches it takes
}

// OpenDatabase finds or opens the database with these options and this login, and the recorder of requests.
// The key is made of the settings. Nobody is called before Start.
func (rt *Runtime) OpenDatabase(key string, o postgres.Options, login *secret.Refresher) (err error) {
	rt.Database, err = process.Share(&rt.Leases, "database "+key, func() (*Database, func() error, error) {
		d := new(Database)
		o.DSN, o.Logger, o.Notify = login.Current, ProcessLogger("history"), d.notify(&secret.Renewal{Password: login})
		db, err := postgres.Open(o)
		if err != nil {
			return nil, nil, err
		}
		d.DB = db
		return d, d.close, nil
	})
	if err != nil {
		return err
	}
	// after the database, so that it is released before it
	dir := filepath.Join(process.DataFolder(), "history")
	rt.Recorder, err = process.Share(&rt.Leases, "history "+dir, func() (*recorder.Recorder, func() error, error) {
		r := recorder.Open(recorder.Options{Dir: dir, Logger: ProcessLogger("history")})
		return r, func() error { return closeRecorder(r) }, nil
	})
	return err
}

// notify returns what the database calls when it comes and goes.
func (d *Database) notify(login *secret.Renewal) func(up bool, result string) {
	return func(up bool, result string) {
		switch r := d.recorder.Load(); {
		case result == postgres.Denied:
			login.Denied()
		case up && r != nil:
			r.Wake()
		}
	}
}

// close does not let a reload wait for a database that does not answer. A recorder that ends, too, sends what it
// has before.
func (d *Database) close() error {
	if caddy.Exiting() {
		return d.Close()
	}
	process.Background.Go(func(context.Context) {
		if r := d.recorder.Load(); r != nil && r.Closing() {
			<-r.BeginClose()
		}
		_ = d.Close() // its errors come too late to matter
	})
	return nil
}

// closeRecorder does not let a reload wait for a disk that does not answer.
func closeRecorder(r *recorder.Recorder) error {
	if caddy.Exiting() {
		return r.Close()
	}
	ended := r.BeginClose()
	process.Background.Go(func(context.Context) { <-ended })
	return nil
}

// startHistory sends what was recorded to this configuration's database from now on.
func (rt *Runtime) startHistory() {
	if rt.Recorder == nil {
		return
	}
	rt.Database.recorder.Store(rt.Recorder)
	rt.Database.Start()
	rt.Recorder.Use(recorder.Settings{Store: rt.Database, Limit: rt.Spool, Rows: rt.Rows, Stored: rt.stored})
	rt.Recorder.Start()
}

// stored returns what the history stores for an address: its subject, or what privacy makes of it. It reports
// false while a key for pseudonyms is missing.
func (rt *Runtime) stored(addr netip.Addr) (netip.Prefix, bool) {
	if rt.privacy == nil {
		return reputation.Subject(addr), true
	}
	stored, ok := rt.privacy.Stored(addr)
	if stored.Bits() > reputation.Subject(addr).Bits() && stored.Contains(addr) {
		stored = reputation.Subject(addr)
	}
	return stored, ok
}

// StoredAs returns the prefix under which the history stores another: as privacy says, and an IPv6 client by
// its /64, of which it may take any address. An address that is stored as a network is refused: the answer
// would be about other visitors, too.
func (rt *Runtime) StoredAs(prefix netip.Prefix) (netip.Prefix, error) {
	stored, ok := rt.stored(prefix.Addr())
	network := prefix.Bits() < reputation.Subject(prefix.Addr()).Bits()
	switch {
	case network && rt.privacy.Hides():
		return netip.Prefix{}, errNoNetworks
	case !ok:
		return netip.Prefix{}, fmt.Errorf("%w: the key of privacy has not come from its store yet", history.ErrUnavailable)
	case network && prefix.Bits() < stored.Bits():
		return prefix, nil
	case rt.privacy.Shares(prefix.Addr()) && prefix.Masked() != stored:
		return netip.Prefix{}, fmt.Errorf("%w: with privacy truncate, visitors of a network are stored as one: ask for %s",
			history.ErrQuery, stored)
	}
	return stored, nil
}

// settleWithin is how long a question waits for what was recorded just now.
const settleWithin = time.Second

// openHistory returns what answers questions about the history. What this instance recorded just now is
// stored before, if that is soon done.
func (rt *Runtime) openHistory(ctx context.Context) (history.Reader, error) {
	if rt.Database == nil {
		return nil, ErrNoHistory
	}
	if rt.Database.Up() {
		ctx, cancel := context.WithTimeout(ctx, settleWithin)
		defer cancel()
		rt.Recorder.Sync(ctx)
	}
	switch {
	case rt.privacy.Hides():
		return request.TracedHistory{Reader: pseudonymous{rt.Database}}, nil
	case rt.privacy.Truncates():
		return request.TracedHistory{Reader: truncated{rt.Database, rt.privacy}}, nil
	}
	return request.TracedHistory{Reader: rt.Database}, nil
}

// pseudonymous answers about a history of pseudonyms.
type pseudonymous struct{ history.Reader }

// Worst implements history.Reader.
func (p pseudonymous) Worst(ctx context.Context, r history.Ranking) (history.Worst, error) {
	if r.Networks {
		return history.Worst{}, errNoNetworks
	}
	return p.Reader.Worst(ctx, r)
}

var errNoNetworks = fmt.Errorf("%w: networks cannot be told from pseudonyms, ask for addresses", history.ErrQuery)

// truncated answers about a history of networks. It refuses what would take the visitors of a network for one.
type truncated struct {
	history.Reader
	privacy *privacy.Policy
}

// Changes implements history.Reader.
func (t truncated) Changes(ctx context.Context, q history.Query) (history.Changes, error) {
	if t.privacy.Shares(q.Prefix.Addr()) {
		return history.Changes{}, fmt.Errorf("%w: with privacy truncate, verdicts about different visitors would be compared: "+
			"ask for the timeline", history.ErrQuery)
	}
	return t.Reader.Changes(ctx, q)
}

// Worst implements history.Reader.
func (t truncated) Worst(ctx context.Context, r history.Ranking) (history.Worst, error) {
	if !r.Networks {
		return history.Worst{}, fmt.Errorf("%w: with privacy truncate, addresses are not stored: ask for networks", history.ErrQuery)
	}
	return t.Reader.Worst(ctx, r)
}
