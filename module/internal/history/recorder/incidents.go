package recorder

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// maxIncidents is how many incidents may wait for the collector.
const maxIncidents = 4096

// maxNamed is how many categories an incident may have.
const maxNamed = 32

// sighting is an incident and its client.
type sighting struct {
	addr netip.Addr
	history.Incident
}

// RecordIncident counts an incident of an address. Its time is First; Minute, Address, Count and Last are filled in. It
// never waits: what there is no room for is dropped and counted.
func (r *Recorder) RecordIncident(addr netip.Addr, i history.Incident) {
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
	clean(i)
	i.Address = stored
	minute, subject := i.Minute.Unix()/60, reputation.Subject(addr)
	if wide := reputation.Network(subject.Addr()); !c.fold.subjects.subject(minute, wide, subject) {
		i.Address = widened(stored, subject)
	}
	c.placeIncident(i, minute, settings.Rows)
	c.ledger.addIncident(i)
	c.tally.collected(1)
}

// placeIncident gives an incident the address and the host of the row that speaks for it.
func (c *collector) placeIncident(i *history.Incident, minute int64, limit int) {
	if c.findIncident(i, minute) {
		return
	}
	if c.fold.fullAt(minute, limit) {
		i.Address = everybody(i.Address)
		if c.findIncident(i, minute) {
			return
		}
	}
	i.Host, i.RequestID = strings.Clone(i.Host), strings.Clone(i.RequestID) // parts of the much longer request
	c.fold.add(minute)
}

// findIncident is find for incidents.
func (c *collector) findIncident(i *history.Incident, minute int64) bool {
	if c.ledger.hasIncident(i) {
		return true
	}
	if c.fold.hosts.host(minute, i.Address, i.Host) {
		return false
	}
	i.Host = ""
	return c.ledger.hasIncident(i)
}

// clean fills in what an incident has by its time, and bounds its texts.
func clean(i *history.Incident) {
	at := time.Unix(0, timeOf(i.First)).UTC()
	i.Minute, i.First, i.Last, i.Count = at.Truncate(time.Minute), at, at, 1
	i.Host, i.Name, i.Result = hostOf(i.Host), plain(i.Name, maxText), plain(i.Result, maxText)
	i.RequestID, i.Config = plain(i.RequestID, maxText), plain(i.Config, maxText)
	i.Points, i.Seconds = max(history.Finite(i.Points), 0), max(i.Seconds, 0)
	i.Categories = i.Categories[:min(len(i.Categories), maxNamed)]
}

// validIncident reports whether an incident read from disk is plausible.
func validIncident(i *history.Incident) bool {
	return (i.Kind == history.KindViolation || i.Kind == history.KindBan || i.Kind == history.KindReport) && i.Address.IsValid() &&
		validTime(i.Minute) && validTime(i.First) && validTime(i.Last) && i.Count > 0 && i.Count < 1<<40 &&
		i.Points >= 0 && i.Points < math.MaxFloat32 && i.Seconds >= 0 && len(i.Categories) <= maxNamed
}

// mergeIncident adds to an incident one that was counted later.
func mergeIncident(i, later *history.Incident) {
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

func incidentKeyOf(i *history.Incident) incidentKey {
	return incidentKey{i.Minute.Unix() / 60, i.Address, i.Host, i.Kind, i.Name, i.Result, i.Config}
}

// hasIncident reports whether there is a row with the same key.
func (w *window) hasIncident(i *history.Incident) bool {
	_, ok := w.incidentIndex[incidentKeyOf(i)]
	return ok
}

// addIncident adds an incident. Its row keeps references to the texts.
func (w *window) addIncident(i *history.Incident) {
	w.entries += i.Count
	key := incidentKeyOf(i)
	if n, ok := w.incidentIndex[key]; ok {
		mergeIncident(&w.incidents[n], i)
		return
	}
	if w.incidentIndex == nil {
		w.incidentIndex = make(map[incidentKey]int32)
	}
	w.incidentIndex[key] = int32(len(w.incidents))
	w.incidents = append(w.incidents, *i)
	w.size += 400 + len(i.Host) + len(i.Name) + len(i.RequestID) // the rest is short
}
