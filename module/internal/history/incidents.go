package history

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The kinds of incidents.
const (
	KindViolation = "violation" // a client has done what the site counts against it
	KindBan       = "ban"       // a rule or a violation has banned the client
	KindReport    = "report"    // a service was told of the client, or would have been
)

// Incident counts the equal incidents of one address within one minute.
type Incident struct {
	Minute     time.Time    `json:"minute"`  // in UTC
	Address    netip.Prefix `json:"address"` // as Decision.Address
	Host       string       `json:"host,omitempty"`
	Kind       string       `json:"kind"`
	Name       string       `json:"name"` // of the violation; the rule that has banned; the provider that was told
	Count      int64        `json:"count"`
	Points     float64      `json:"points,omitempty"`           // what the violations of this name amounted to at most
	Seconds    int64        `json:"duration_seconds,omitempty"` // of the longest ban
	Categories []string     `json:"categories,omitempty"`       // of a report
	Result     string       `json:"result,omitempty"`           // of a report
	First      time.Time    `json:"first"`
	Last       time.Time    `json:"last"`
	RequestID  string       `json:"request_id,omitempty"` // of the first request
	Config     string       `json:"config"`
}

// maxIncidents is how many incidents may wait for the collector.
const maxIncidents = 4096

// maxNamed is how many categories an incident may have.
const maxNamed = 32

// sighting is an incident and its client.
type sighting struct {
	addr netip.Addr
	Incident
}

// RecordIncident counts an incident of an address. Its time is First; Minute, Address, Count and Last are filled in. It
// never waits: what there is no room for is dropped and counted.
func (r *Recorder) RecordIncident(addr netip.Addr, i Incident) {
	if !addr.IsValid() {
		return
	}
	if r.closed.Load() {
		r.tally.drop(DropQueue, 1)
		return
	}
	select {
	case r.incidents <- sighting{addr, i}:
	default:
		r.tally.drop(DropQueue, 1)
	}
}

// discardIncidents forgets what the collector has not taken, and returns how many incidents that are.
func (r *Recorder) discardIncidents() (n int64) {
	for {
		select {
		case <-r.incidents:
			n++
		default:
			return n
		}
	}
}

// takeIncidents takes the incidents that wait.
func (c *collector) takeIncidents() {
	for range len(c.incidents) {
		s := <-c.incidents
		c.incident(&s)
	}
}

// incident counts an incident in its row.
func (c *collector) incident(s *sighting) {
	settings, addr, i := c.settings.Load(), s.addr.Unmap().WithZone(""), &s.Incident
	stored, ok := settings.Stored(addr)
	if !ok {
		c.tally.hide(1)
		return
	}
	i.clean()
	i.Address = stored
	minute, subject := i.Minute.Unix()/60, reputation.Subject(addr)
	if wide := reputation.Network(subject.Addr()); !c.fold.subjects.subject(minute, wide, subject) {
		i.Address = widened(stored, subject)
	}
	c.ledger.incident(c.placeIncident(i, minute, settings.Rows), i)
	c.tally.collected(1)
}

// placeIncident returns the row that speaks for an incident.
func (c *collector) placeIncident(i *Incident, minute int64, limit int) int32 {
	if n := c.findIncident(i, minute); n >= 0 {
		return n
	}
	if c.fold.fullAt(minute, limit) {
		i.Address = everybody(i.Address)
		if n := c.findIncident(i, minute); n >= 0 {
			return n
		}
	}
	i.Host, i.RequestID = strings.Clone(i.Host), strings.Clone(i.RequestID) // parts of the much longer request
	c.fold.add(minute)
	return c.ledger.openIncident(i)
}

// findIncident is find for incidents.
func (c *collector) findIncident(i *Incident, minute int64) int32 {
	if n := c.ledger.findIncident(i); n >= 0 || c.fold.hosts.host(minute, i.Address, i.Host) {
		return n
	}
	i.Host = ""
	return c.ledger.findIncident(i)
}

// clean fills in what an incident has by its time, and bounds its texts.
func (i *Incident) clean() {
	at := time.Unix(0, timeOf(i.First)).UTC()
	i.Minute, i.First, i.Last, i.Count = at.Truncate(time.Minute), at, at, 1
	i.Host, i.Name, i.Result = hostOf(i.Host), plain(i.Name, maxText), plain(i.Result, maxText)
	i.RequestID, i.Config = plain(i.RequestID, maxText), plain(i.Config, maxText)
	i.Points, i.Seconds = max(Finite(i.Points), 0), max(i.Seconds, 0)
	i.Categories = i.Categories[:min(len(i.Categories), maxNamed)]
}

// valid reports whether an incident read from disk is plausible.
func (i *Incident) valid() bool {
	return (i.Kind == KindViolation || i.Kind == KindBan || i.Kind == KindReport) && i.Address.IsValid() &&
		validTime(i.Minute) && validTime(i.First) && validTime(i.Last) && i.Count > 0 && i.Count < 1<<40 &&
		i.Points >= 0 && i.Points < math.MaxFloat32 && i.Seconds >= 0 && len(i.Categories) <= maxNamed
}

// merge adds an incident that was counted later.
func (i *Incident) merge(later *Incident) {
	i.Count += later.Count
	if later.First.Before(i.First) {
		i.First, i.RequestID = later.First, later.RequestID
	}
	if later.Last.After(i.Last) {
		i.Last = later.Last
	}
	i.Points, i.Seconds = max(i.Points, later.Points), max(i.Seconds, later.Seconds)
}

// incidentKey is what incidents that are counted together have in common.
type incidentKey struct {
	minute                           int64
	address                          netip.Prefix
	host, kind, name, result, config string
}

func incidentKeyOf(i *Incident) incidentKey {
	return incidentKey{i.Minute.Unix() / 60, i.Address, i.Host, i.Kind, i.Name, i.Result, i.Config}
}

// findIncident returns the number of the row with the same key; -1: none.
func (w *window) findIncident(i *Incident) int32 {
	if n, ok := w.incidentIndex[incidentKeyOf(i)]; ok {
		return n
	}
	return -1
}

// insertIncident adds a row that findIncident has not found.
func (w *window) insertIncident(i *Incident) int32 {
	if w.incidentIndex == nil {
		w.incidentIndex = make(map[incidentKey]int32)
	}
	n := int32(len(w.incidents))
	w.incidentIndex[incidentKeyOf(i)] = n
	w.incidents = append(w.incidents, *i)
	w.size += 400 + len(i.Host) + len(i.Name) + len(i.RequestID) // the rest is short
	return n
}

// addIncident adds an incident.
func (w *window) addIncident(i *Incident) {
	if n := w.findIncident(i); n >= 0 {
		w.incidents[n].merge(i)
	} else {
		w.insertIncident(i)
	}
	w.entries += i.Count
}

// openIncident adds a row, which counts nothing yet.
func (l *ledger) openIncident(i *Incident) int32 {
	l.unsavedIncidents = append(l.unsavedIncidents, 0)
	row := *i
	row.Count = 0
	return l.insertIncident(&row)
}

// incident adds an incident to its row.
func (l *ledger) incident(n int32, i *Incident) {
	l.incidents[n].merge(i)
	l.entries += i.Count
	if l.unsavedIncidents[n] == 0 {
		l.dirtyIncidents = append(l.dirtyIncidents, n)
	}
	l.unsavedIncidents[n] += i.Count
}

// unsavedIncident returns the part of a row that the journal lacks.
func (l *ledger) unsavedIncident(n int32) *Incident {
	part := l.incidents[n]
	part.Count = l.unsavedIncidents[n]
	return &part
}
