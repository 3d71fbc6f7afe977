package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/logtest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

func TestStatusHoldsNoLogin(t *testing.T) {
	t.Parallel()
	const dsn = "postgres://user-of-status:password-of-status@127.0.0.1:9/base?sslmode=disable"
	db := open(t, dsn)
	awaitResult(t, db, "unreachable")
	s := db.Status()
	if s.Server != "127.0.0.1:9/base" {
		t.Errorf("the server is %q", s.Server)
	}
	text, err := json.Marshal(s)
	if err != nil || strings.Contains(string(text), "password-of") {
		t.Errorf("%s, %v", text, err)
	}
}

// TestNoSecretLeaves looks for parts of passwords in all that is said about DSNs, right and wrong.
func TestNoSecretLeaves(t *testing.T) {
	t.Parallel()
	s := asking(t)
	var log logtest.Log
	var mu sync.Mutex
	var told strings.Builder
	addr := s.Addr
	silent := testenv.Proxy(t, s.Addr)
	silent.BlackHole()
	for _, dsn := range []string{
		"postgres://writer:password-of-x@" + addr + "/postgres?sslmode=disable",                         // wrong
		"postgres://writer:password-of-x@" + addr + "/postgres",                                         // TLS first
		"postgres://writer:password-of-x@" + addr + "/postgres?sslmode=require",                         // no TLS there
		"postgres://writer:password-of-x@127.0.0.1:9/postgres",                                          // dead
		"postgres://writer:password-of-x@" + silent.Addr + "/postgres?connect_timeout=1",                // silent
		"postgres://writer:password-of@-mark-x@" + addr + "/postgres",                                   // @ not escaped
		"postgres://writer:12/-mark-x@" + addr + "/postgres",                                            // / not escaped
		"postgres://writer:12?-mark-x@" + addr + "/postgres",                                            // ? not escaped
		"postgres://writer:pass%zz-mark-x@" + addr + "/postgres",                                        // % not escaped
		"postgres://writer:12#-mark-x@" + addr + "/postgres",                                            // # not escaped
		"postgres://writer:[-mark-x@" + addr + "/postgres",                                              //
		"postgresql:/writer:password-of-x@" + addr + "/postgres",                                        // a slash is missing
		"postgres://" + addr + "/postgres?user=writer&password=password-of-x&sslmode=disable",           //
		"postgres://" + addr + "/postgres?user=writer&passwort=password-of-x&sslmode=disable",           // misspelled
		"postgres://writer:password-of-x@" + addr + "/postgres?sslmode=password-of-x",                   //
		"postgres://writer:password-of-x@" + addr + "/postgres?pool_max_conns=password-of-x",            //
		"host=127.0.0.1 user=writer password=pass -mark-x",                                              // a space
		"host=127.0.0.1 user=writer password='pass' -mark-x'",                                           // a quote
		"host=127.0.0.1 port=-mark-x user=writer password=password-of-x",                                //
		"host=127.0.0.1 port=9 user=writer password=password-of-x dbname=a target_session_attrs=mark-x", //
		"password-of-x",
	} {
		db := open(t, dsn, into(&log), func(db *DB) {
			db.options.Notify = func(_ bool, why string) {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintln(&told, why)
			}
		})
		status := await(t, db, "tried", func(s Status) bool { return s.Result != "waiting" })
		_, err := db.Write(context.Background(), batchOf(1, time.Now(), 1))
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, failed := Migrate(ctx, dsn, "status")
		cancel()
		mu.Lock()
		all := fmt.Sprintf("%+v\n%v\n%v\n%v\n%s\n%s", status, err, failed, CheckDSN(dsn), &told, log.Take())
		mu.Unlock()
		if err == nil || failed == nil {
			t.Errorf("%s: it works", dsn)
		}
		for _, part := range []string{"password-of", "mark-x"} {
			if strings.Contains(all, part) {
				t.Errorf("%s: it says %s", dsn, all)
			}
		}
		for err := failed; err != nil; err = errors.Unwrap(err) {
			if text := fmt.Sprintf("%#v", err); strings.Contains(text, "password-of") || strings.Contains(text, "mark-x") {
				t.Errorf("%s: there is %s in the chain", dsn, text)
			}
		}
	}
}

func FuzzCheckDSN(f *testing.F) {
	for _, s := range []string{"postgres://user:password@host:5432/database", "host=a password='b' dbname=c", "postgres://u:p@[::1]/d?x=y", ""} {
		f.Add(s)
	}
	ours := map[string]bool{}
	for _, c := range parseErrors {
		ours[c.message] = true
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		err := CheckDSN(dsn)
		if err == nil {
			return
		}
		_, why, _ := strings.Cut(err.Error(), ": ")
		if !ours[why] && !strings.Contains(why, "postgres://user:password@host:5432/database") && !strings.Contains(why, "the host or the database has an @") {
			t.Errorf("%s", err)
		}
	})
}

func TestFailureWithout(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, password, name, want string }{
		{"it said: hunter22", "hunter22", "me", "it said: …"},
		{"user postgres", "postgres", "postgres", "user postgres"},
		{"an apple", "a", "me", "an apple"},
		{"nothing", "", "me", "nothing"},
	} {
		f := &failure{text: tc.text}
		if got := f.redact(tc.password, tc.name).text; got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}
