package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/testenv"
)

func TestWithCure(t *testing.T) {
	err := fmt.Errorf("asking: %w", &failure{kind: outdated, text: "its tables are too new", cure: "update the plugin here"})
	if got := WithCure(err); !errors.Is(got, err) || !strings.HasSuffix(got.Error(), ": update the plugin here") {
		t.Errorf("with a cure: %v", got)
	}
	for _, other := range []error{nil, errors.New("of another package")} {
		if got := WithCure(other); got != other { //nolint:errorlint // it must be the same
			t.Errorf("%v became %v", other, got)
		}
	}
}

// TestForeignText: a server, or what stands in its place, answers what it likes. It does not reach the log or the status
// as it is, and a password is found before the text is cut.
func TestForeignText(t *testing.T) {
	long := testenv.Foreign + strings.Repeat(" x", 5_000)
	for name, err := range map[string]error{
		"server":  &pgconn.PgError{Code: long, Message: "line\n" + long},
		"value":   &pgconn.PgError{Code: "22" + long, Message: long},
		"network": errors.New("failed to connect to `db`:\n\t" + long),
	} {
		text := classify(err).Error()
		if !strings.Contains(text, "[2J") && name != "value" {
			t.Errorf("%s: %q", name, text)
		}
		testenv.WantLine(t, text)
	}
	const password = "correct horse battery staple"
	pad := strings.Repeat("x", 270)
	f := classify(&pgconn.PgError{Code: "XX000", Message: pad + " " + password}).redact(password)
	if strings.Contains(f.Error(), "correct") {
		t.Errorf("a part of the password: %q", f)
	}
}
