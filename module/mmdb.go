package module

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
)

// Database is a file in the MaxMind DB format, which says of addresses what they are: where they are, whose they
// are, and whether they are VPNs, hosting providers and the like.
type Database struct {
	// The file, of at most 1 GiB. When it is replaced or rewritten, the new one is in force within seconds; one that cannot be
	// read leaves the facts of the one before in force. Mount its folder into a container, not the file, or the container
	// keeps the old one. Required.
	File string `json:"file,omitempty"`

	// The name by which the database appears in metrics, `status` and the log. Default: the file's, without `.mmdb`.
	Name string `json:"name,omitempty"`

	// How old the file may become, by the date that is in it, until `status`, health and an alert say that its updates have
	// stopped. Its facts stay in force. Zero is for a file that may be of any age. Default: 40d, when a monthly one is late.
	MaxAge *caddy.Duration `json:"max_age,omitempty"`

	// Where the facts are in the records, for files whose fields are not known. The databases of MaxMind, IPinfo, DB-IP,
	// IPLocate, ip-location-db and CIRCL are known. A fact with a path of yours is looked for only there. Default: none.
	Paths []FactPath `json:"paths,omitempty"`
}

// FactPath says where in the records of a database a fact is.
type FactPath struct {
	// Which fact: `country`, `asn`, `as_name`, or a nature: `tor`, `vpn`, `proxy`, `relay`, `hosting`, `mobile`. Required.
	Fact string `json:"fact,omitempty"`

	// The field that holds it. Nested fields are joined with dots, such as `geo.country.code`, and an element of an array has its
	// number, from 0. `caddy ip-reputation mmdb <file> <address>` shows what a file has. Required.
	Field string `json:"field,omitempty"`

	// The values that mean yes, for a nature only, such as `DCH` where a field `usage_type` stands for hosting. `*` is any
	// value. Default: the boolean true, or the word.
	Values []string `json:"values,omitempty"`
}

// Check reports what is wrong with the path.
func (p FactPath) Check() error { return mmdb.Path(p).Check() }

const defaultDatabaseAge = 40 * 24 * time.Hour

// spec returns the database as the engine reads it.
func (d *Database) spec() mmdb.Spec {
	s := mmdb.Spec{Name: d.Name, File: d.File, MaxAge: defaultDatabaseAge}
	if d.MaxAge != nil {
		s.MaxAge = time.Duration(*d.MaxAge)
	}
	if s.Name == "" {
		s.Name = strings.TrimSuffix(filepath.Base(d.File), ".mmdb")
	}
	for _, p := range d.Paths {
		s.Paths = append(s.Paths, mmdb.Path(p))
	}
	return s
}

// CheckDatabases reports what is wrong with the databases, as far as it can be judged without the files.
func (a *App) CheckDatabases() error {
	_, err := a.databases()
	return err
}

func (a *App) databases() ([]mmdb.Spec, error) {
	specs := make([]mmdb.Spec, 0, len(a.Databases))
	names, files := make(map[string]bool), make(map[string]bool)
	for i := range a.Databases {
		d := &a.Databases[i]
		if d.File == "" {
			return nil, errors.New("mmdb: a database needs a file, such as /var/lib/GeoIP/GeoLite2-Country.mmdb")
		}
		if strings.Contains(d.File, "://") {
			return nil, errors.New("mmdb: databases are not fetched: name a file, and let its publisher's program, such as geoipupdate, " +
				"replace it")
		}
		if err := checkPath(d.File); err != nil {
			return nil, fmt.Errorf("mmdb: %w", err)
		}
		s := d.spec()
		if s.MaxAge < 0 {
			return nil, fmt.Errorf("mmdb %s: max_age %s: write a duration such as 40d, or 0 for a file of any age", d.File, s.MaxAge)
		}
		for _, p := range s.Paths {
			if err := p.Check(); err != nil {
				return nil, fmt.Errorf("mmdb %s: %w", d.File, err)
			}
		}
		switch {
		case files[filepath.Clean(d.File)]:
			return nil, fmt.Errorf("mmdb: %s is given twice: remove one", d.File)
		case names[s.Name]:
			return nil, fmt.Errorf("mmdb: two databases are named %q: give one of them another `name`", s.Name)
		}
		names[s.Name], files[filepath.Clean(d.File)] = true, true
		specs = append(specs, s)
	}
	return specs, nil
}

// provisionDatabases reads the databases that are new. As with the files of lists, a broken one refuses a
// configuration while somebody waits for the answer, and is only said at a boot.
func (a *App) provisionDatabases(ctx caddy.Context) error {
	specs, err := a.databases()
	if err != nil {
		return err
	}
	if err := a.runtime.OpenDatabases(ctx, specs, !process.Booting()); err != nil {
		cure := "the log of Caddy and `caddy ip-reputation mmdb <file> <address>` show more"
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			cure = "check the path, and that the user Caddy runs as may read it"
		}
		return fmt.Errorf("%w: %s", err, cure)
	}
	return nil
}
