package admin

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/lookup/listing"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/metrics"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// maxAdminBody bounds what is read of a request.
const maxAdminBody = 64 << 10

// overrides are the endpoints of bans, or of exemptions.
type overrides struct {
	kind ban.Kind
	done string // what happened to a prefix
}

var (
	bans       = overrides{ban.Ban, adminapi.StateOf(ban.Ban)}
	exemptions = overrides{ban.Exemption, adminapi.StateOf(ban.Exemption)}
)

func (o overrides) list(rt *runtime.Runtime, _ *http.Request, _ string) (any, error) {
	if all := rt.Overrides.List(o.kind); all != nil {
		return all, nil
	}
	return []ban.Entry{}, nil
}

func (o overrides) get(rt *runtime.Runtime, _ *http.Request, argument string) (any, error) {
	prefix, err := rt.NAT64.ParsePrefix(argument)
	if err != nil {
		return nil, adminError(http.StatusBadRequest, err)
	}
	entry, ok := o.find(rt, prefix)
	if !ok {
		return nil, o.missing(rt, prefix)
	}
	return entry, nil
}

func (o overrides) add(rt *runtime.Runtime, r *http.Request, _ string) (any, error) {
	wanted, err := readOverride(r.Body)
	if err != nil {
		return nil, err
	}
	entry, err := o.entry(rt, wanted)
	if err != nil {
		return nil, adminError(http.StatusBadRequest, err)
	}
	_, replaced := o.find(rt, entry.Prefix)
	entry, err = rt.Overrides.Add(entry)
	answer := adminapi.OverrideAnswer{Entry: entry}
	if answer.Warning, err = onDisk(err); err != nil {
		return nil, err
	}
	if o.kind == ban.Ban {
		metrics.CountBan(ban.Operator.String())
	}
	rt.Logger.Info("added by an operator", append(attributes(r, entry), slog.String("ttl", cmp.Or(wanted.TTL, "forever")))...)
	if o.kind == ban.Ban {
		answer.Note = noteOn(rt, entry.Prefix)
	}
	answer.Warning = join(answer.Warning, otherInstances(rt))
	if replaced {
		return answer, nil
	}
	return created{answer}, nil
}

func (o overrides) remove(rt *runtime.Runtime, r *http.Request, argument string) (any, error) {
	prefix, err := rt.NAT64.ParsePrefix(argument)
	if err != nil {
		return nil, adminError(http.StatusBadRequest, err)
	}
	entry, inForce := o.find(rt, prefix)
	if !inForce && o.kind == ban.Ban {
		entry, _ = rt.Overrides.Remembered(prefix)
	}
	pardoned := false
	if entry.Cause.By != ban.Operator { // before the ban ends: rules would make the next one of these points
		pardoned = rt.Pardon(r.Context(), prefix.Addr())
	}
	found, err := rt.Overrides.Remove(o.kind, prefix)
	answer := adminapi.OverrideAnswer{Entry: entry}
	if answer.Warning, err = onDisk(err); err != nil {
		return nil, err
	}
	if !found {
		return nil, o.missing(rt, prefix)
	}
	rt.Logger.Info("removed by an operator", attributes(r, entry)...)
	answer.Note = o.noteOnEnd(rt, prefix, inForce, pardoned)
	answer.Warning = join(answer.Warning, otherInstances(rt))
	return answer, nil
}

// noteOnEnd says what has ended beside an entry, and what goes on.
func (o overrides) noteOnEnd(rt *runtime.Runtime, prefix netip.Prefix, inForce, pardoned bool) string {
	var over, forgotten, stays, still string
	if !inForce {
		over = "it was over already; the next one is as short as the first"
	}
	switch {
	case pardoned:
		forgotten = "its violations are forgotten"
	case o.kind == ban.Ban && prefix == reputation.Subject(prefix.Addr()) && costly(rt, prefix.Addr()):
		stays = fmt.Sprintf("the points of its violations stay: `caddy ip-reputation forget %s` takes them back", prefix.Addr())
	}
	if others := o.holding(rt, prefix.Addr()); len(others) > 0 {
		still = fmt.Sprintf("%s is still %s by %s", prefix.Addr(), o.done, strings.Join(others, ", "))
	}
	return join(over, forgotten, stays, still)
}

// costly reports whether an address has points for what it did here.
func costly(rt *runtime.Runtime, addr netip.Addr) bool {
	violations, _ := seenHere(rt, addr, 0, time.Now())
	return slices.ContainsFunc(violations, func(v adminapi.Violation) bool { return v.Points > 0 })
}

// otherInstances says when a change reaches no other instance for now.
func otherInstances(rt *runtime.Runtime) string {
	if rt.Redis == nil || rt.Redis.Up() {
		return ""
	}
	return "redis is away: the other instances learn of it when it is back"
}

func join(texts ...string) string {
	return strings.Join(slices.DeleteFunc(texts, func(s string) bool { return s == "" }), "; ")
}

// readOverride reads the body of a POST.
func readOverride(body io.Reader) (o adminapi.Override, err error) {
	text, err := io.ReadAll(io.LimitReader(body, maxAdminBody+1))
	if err != nil {
		return o, adminError(http.StatusBadRequest, fmt.Errorf("reading the body: %w", err))
	}
	if len(text) > maxAdminBody {
		return o, adminError(http.StatusRequestEntityTooLarge,
			fmt.Errorf("the body has more than %d bytes: send one prefix at a time, or keep long lists in a file", maxAdminBody))
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err = decoder.Decode(&o); err == nil {
		if _, more := decoder.Token(); more != io.EOF {
			err = errors.New("something follows the object")
		}
	}
	if err != nil {
		return o, adminError(http.StatusBadRequest,
			fmt.Errorf(`reading the body: %w: send {"prefix": "203.0.113.5/32", "ttl": "1h", "reason": "…"}, the last two if you like`, err))
	}
	return o, nil
}

// entry turns what is wanted into an entry.
func (o overrides) entry(rt *runtime.Runtime, wanted adminapi.Override) (entry ban.Entry, err error) {
	entry = ban.Entry{Kind: o.kind, Reason: wanted.Reason, Created: time.Now()}
	if entry.Prefix, err = rt.NAT64.ParsePrefix(wanted.Prefix); err != nil {
		return entry, err
	}
	if wanted.TTL == "" {
		return entry, nil
	}
	ttl, err := caddy.ParseDuration(wanted.TTL)
	if err != nil || ttl <= 0 {
		return entry, fmt.Errorf("ttl %q is not a duration that lies ahead: write one such as 30m, 1h or 7d, or leave it out", wanted.TTL)
	}
	entry.Expires = entry.Created.Add(ttl)
	return entry, nil
}

// onDisk turns the error of a change that is in force, but not on disk, into a warning.
func onDisk(err error) (warning string, _ error) {
	switch {
	case err == nil:
		return "", nil
	case errors.Is(err, ban.ErrDetached):
		return err.Error() + ": a restart undoes it unless that process has ended by then", nil
	case errors.Is(err, ban.ErrNotSaved):
		return err.Error() + ": a restart undoes it unless the disk is well by then", nil
	case errors.Is(err, ban.ErrClosed):
		return "", adminError(http.StatusServiceUnavailable, fmt.Errorf("%w: Caddy is reloading, try again", err))
	}
	return "", adminError(http.StatusBadRequest, err)
}

// find returns the entry of exactly this prefix.
func (o overrides) find(rt *runtime.Runtime, prefix netip.Prefix) (ban.Entry, bool) {
	for _, entry := range rt.Overrides.Find(prefix.Addr()) {
		if entry.Kind == o.kind && entry.Prefix == prefix {
			return entry, true
		}
	}
	return ban.Entry{}, false
}

// holding returns the prefixes that hold the address.
func (o overrides) holding(rt *runtime.Runtime, addr netip.Addr) (prefixes []string) {
	for _, entry := range rt.Overrides.Find(addr) {
		if entry.Kind == o.kind {
			prefixes = append(prefixes, entry.Prefix.String())
		}
	}
	return prefixes
}

// missing says that there is no entry, and which one may have been meant.
func (o overrides) missing(rt *runtime.Runtime, prefix netip.Prefix) error {
	err := fmt.Errorf("there is no %s of %s", o.kind, prefix)
	if others := o.holding(rt, prefix.Addr()); len(others) > 0 {
		err = fmt.Errorf("%w: %s is %s by %s", err, prefix.Addr(), o.done, strings.Join(others, ", "))
	} else if o.kind == ban.Ban && prefix.IsSingleIP() {
		err = fmt.Errorf("%w: `caddy ip-reputation check %s` says what else speaks against it", err, prefix.Addr())
	}
	return adminError(http.StatusNotFound, err)
}

// attributes are what the log says of a change.
func attributes(r *http.Request, entry ban.Entry) []any {
	return []any{
		slog.String("kind", entry.Kind.String()),
		slog.String("prefix", entry.Prefix.String()),
		slog.String("reason", entry.Why()),
		slog.String("remote_addr", r.RemoteAddr),
	}
}

// shownExemptions bounds how many of them a note names.
const shownExemptions = 3

// noteOn says what a ban does not do: exempt beats it, and one IPv6 address is easily changed.
func noteOn(rt *runtime.Runtime, prefix netip.Prefix) string {
	var by []string
	for _, entry := range rt.Overrides.List(ban.Exemption) {
		if entry.Prefix.Overlaps(prefix) {
			by = append(by, "the exemption of "+entry.Prefix.String())
		}
	}
	x := rt.Engine.Explain(prefix.Addr())
	for _, i := range slices.Concat(x.Lists, x.ByASN, x.ByCountry) {
		if rt.Lists.Meanings[i].Kind == listing.Exempt {
			by = append(by, "the list "+rt.Lists.Names[i])
		}
	}
	switch {
	case len(by) > 0:
		if len(by) > shownExemptions {
			by = append(by[:shownExemptions], "others")
		}
		return "exempt beats a ban, so addresses of it are still let through by " + strings.Join(by, ", ")
	case prefix.Addr().Is6() && prefix.Bits() > 64:
		wide := netip.PrefixFrom(prefix.Addr(), 64).Masked()
		return fmt.Sprintf("an IPv6 client can take any address of its /64: ban %s to keep it out", wide)
	}
	return ""
}
