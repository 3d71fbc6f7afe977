package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// database returns the URL of the database, from --database or from the configuration.
func (c *console) database(cmd *cobra.Command, text string) (string, error) {
	const cure = "write --database '{env.NAME}' or --database '{file./path/to/url}', " +
		"or name the configuration with --config"
	named := cmd.Flags().Changed("database")
	switch {
	case named && c.config != "":
		return "", errors.New("--database and --config both name a database: leave out one")
	case c.config != "":
		return c.configuredDatabase(cmd.Context())
	case c.adapter != "":
		return "", errors.New("--adapter is for --config: leave it out, or add that")
	case strings.TrimSpace(text) == "":
		return "", errors.New("--database is empty: " + cure)
	case holdsPassword(text):
		return "", errors.New("--database holds a password, " +
			"which all users of this machine see in the list of processes: " + cure)
	case secret.LooksLikePlaceholder(text):
		return "", errors.New("--database looks like a placeholder, and is none: " + cure)
	}
	return resolveDatabase(text)
}

// resolveDatabase resolves the placeholders of a DSN. It does so in this process, not in the Caddy that serves.
func resolveDatabase(text string) (string, error) {
	dsn, err := secret.Resolve(text, caddy.NewReplacer())
	if err != nil {
		return "", fmt.Errorf("the database %s is empty: check that this user can read the file, "+
			"or that the variable is set here, since a shell has not those of a service", secret.Placeholders(text))
	}
	return dsn, nil
}

// configuredDatabase returns the URL of the database that the file of --config names.
func (c *console) configuredDatabase(ctx context.Context) (string, error) {
	text, _, _, err := caddycmd.LoadConfig(c.config, c.adapter)
	if err != nil {
		return "", fmt.Errorf("reading the configuration: %w", err)
	}
	var config struct {
		Apps struct {
			App struct {
				History struct {
					Database *databaseURL `json:"database"`
				} `json:"history"`
			} `json:"ip_reputation"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return "", fmt.Errorf("reading the configuration %s: %w", c.config, err)
	}
	database := config.Apps.App.History.Database
	if database == nil {
		return "", fmt.Errorf("the configuration %s keeps no history: add `history {env.DATABASE_URL}` "+
			"to its global ip_reputation options, or name a database with --database", c.config)
	}
	return database.fetch(ctx)
}

// databaseURL is the URL of the database as configured: a placeholder, or a store that holds it.
type databaseURL struct {
	Value    string          `json:"value"`
	StoreRaw json.RawMessage `json:"store" caddy:"namespace=ip_reputation.secrets inline_key=store"`
}

// storeTimeout bounds one call to a store of secrets.
const storeTimeout = 30 * time.Second

// fetch resolves the placeholder, or asks the store.
func (s *databaseURL) fetch(ctx context.Context) (string, error) {
	if s.StoreRaw == nil {
		return resolveDatabase(s.Value)
	}
	ctx, stop := context.WithTimeout(ctx, storeTimeout)
	defer stop()
	modules, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	defer cancel()
	loaded, err := modules.LoadModule(s, "StoreRaw")
	if err != nil {
		return "", fmt.Errorf("loading the store of the database's URL: %w", err)
	}
	store, ok := loaded.(reputation.SecretStore)
	if !ok {
		return "", fmt.Errorf("module %T is not a store of secrets: it lacks the Fetch method", loaded)
	}
	fetched, err := store.Fetch(ctx)
	if err != nil {
		return "", fmt.Errorf("asking the store for the database's URL: %w", err)
	}
	return strings.TrimSpace(fetched.Value), nil
}

// passwordWord finds the password in a DSN of key=value pairs, such as `host=db password=x`.
var passwordWord = regexp.MustCompile(`(?i)password\s*=\s*('(?:[^'\\]|\\.)*'|[^\s&]+)`)

// passwordsOf returns the passwords in a DSN, both as written and decoded.
func passwordsOf(dsn string) (passwords []string) {
	for _, found := range passwordWord.FindAllStringSubmatch(dsn, -1) {
		decoded, _ := url.QueryUnescape(found[1])
		passwords = append(passwords, found[1], strings.Trim(found[1], "'"), decoded)
	}
	if _, rest, isURL := strings.Cut(dsn, "://"); isURL {
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			_, password, _ := strings.Cut(rest[:at], ":")
			decoded, _ := url.PathUnescape(password)
			passwords = append(passwords, password, decoded)
		}
	}
	return slices.DeleteFunc(passwords, func(p string) bool { return p == "" })
}

// holdsPassword reports whether a DSN holds a password in clear text, not only a placeholder.
func holdsPassword(text string) bool {
	return len(passwordsOf(secret.WithoutPlaceholders(text))) > 0
}

// withoutSecret removes the DSN and its passwords from the text of an error.
func withoutSecret(dsn string, err error) error {
	if err == nil {
		return nil
	}
	text := strings.ReplaceAll(err.Error(), dsn, "…")
	for _, password := range passwordsOf(dsn) {
		text = strings.ReplaceAll(text, password, "…")
	}
	return errors.New(clean(text))
}
