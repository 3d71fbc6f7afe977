package health

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
)

// facts judges a database of facts.
func (r *Report) facts(d mmdb.Status, now time.Time) {
	c := Check{ID: d.Name, Type: "component", Value: d.Networks, Unit: "networks", Time: d.Built}
	r.check("databases:networks", c, databaseWarning(d, now))
}

func databaseWarning(d mmdb.Status, now time.Time) *Warning {
	switch {
	case !d.Loaded:
		const text = "database %s cannot be read, so that its facts are known of nobody: "
		return warning(DatabaseMissing, d.Name, text+"see the log for why", d.Name).detail(text+"%s", d.Name, d.Problem)

	case d.Problem != "":
		const text = "the file of database %s cannot be read, and what it said before is in force: "
		return warning(DatabaseFailing, d.Name, text+"see the log for why", d.Name).detail(text+"%s", d.Name, d.Problem)

	case d.Old(now):
		const text = "database %s was made on %s, so that its facts are old: see that what downloads it runs"
		return warning(DatabaseOld, d.Name, text, d.Name, d.Built.UTC().Format(time.DateOnly)).
			detail(text+" and can write %s, or raise its max_age", d.Name, d.Built.UTC().Format(time.DateOnly), d.File)
	}
	return nil
}
