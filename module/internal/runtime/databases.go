package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
)

// databaseInterval is how often the files of databases are looked at. A new one is read after the second look.
const databaseInterval = 5 * time.Second

// OpenDatabases finds or opens the databases, and reads those files that have changed since they were read last. If
// strict is set, it fails with one that cannot be read.
func (rt *Runtime) OpenDatabases(ctx context.Context, specs []mmdb.Spec, strict bool) error {
	for _, spec := range specs {
		hash, err := process.Hash(spec)
		if err != nil {
			return err
		}
		d, err := process.Share(&rt.Leases, "mmdb "+hash, func() (*mmdb.Database, func() error, error) {
			d := mmdb.New(spec)
			return d, d.Close, nil
		})
		if err != nil {
			return err
		}
		rt.Databases = append(rt.Databases, d)
	}
	var loading errgroup.Group
	for i, d := range rt.Databases {
		loading.Go(func() error {
			err := d.Load(ctx, time.Now())
			switch {
			case err == nil:
			case strict:
				return fmt.Errorf("mmdb %s: %w", specs[i].File, err)
			default:
				rt.logDatabase(d.Status())
			}
			return nil
		})
	}
	return loading.Wait()
}

// startDatabases begins to look after the files.
func (rt *Runtime) startDatabases(ctx context.Context) {
	if len(rt.Databases) == 0 {
		return
	}
	process.Background.Keep(ctx, rt.Logger, "looking after databases", process.Every(databaseInterval, rt.lookAtDatabases))
}

// lookAtDatabases reads the files that are replaced.
func (rt *Runtime) lookAtDatabases(ctx context.Context, now time.Time) {
	for _, d := range rt.Databases {
		if d.Look(ctx, now) {
			rt.logDatabase(d.Status())
		}
	}
}

// logDatabase says what became of a file.
func (rt *Runtime) logDatabase(s mmdb.Status) {
	name, file := slog.String("database", s.Name), slog.String("file", s.File)
	switch {
	case s.Problem == "":
		rt.Logger.Info("a database was read", name, file, slog.String("type", s.Type), slog.Time("built", s.Built))
	case s.Loaded:
		rt.Logger.Error("a database cannot be read, and the one before it is in force", name, file, slog.String("error", s.Problem))
	default:
		rt.Logger.Error("a database cannot be read, and its facts are not known of anybody", name, file, slog.String("error", s.Problem))
	}
}
