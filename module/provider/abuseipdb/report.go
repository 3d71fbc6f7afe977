package abuseipdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The service's categories that a site's own violations can be of (https://www.abuseipdb.com/categories).
const (
	ddosAttack    = 4
	openProxy     = 9 // Tor exits too
	webSpam       = 10
	vpnIP         = 13
	hacking       = 15
	bruteForce    = 18
	badWebBot     = 19
	exploitedHost = 20
	webAppAttack  = 21
)

// attacks are our categories that an address is reported for.
var attacks = map[reputation.Category][]int{
	reputation.Abuse:      {hacking},
	reputation.Scanner:    {webAppAttack},
	reputation.BruteForce: {bruteForce, webAppAttack},
	reputation.WebAttack:  {webAppAttack},
	reputation.Spam:       {webSpam},
	reputation.Bot:        {badWebBot},
	reputation.DDoS:       {ddosAttack},

	// The service wants to know what such a host did besides.
	reputation.Compromised: {hacking, exploitedHost},
	reputation.Malware:     {hacking, exploitedHost},
	reputation.BotnetC2:    {hacking, exploitedHost},
}

// beside are our categories that are said beside an attack. Alone, they are no abuse.
var beside = map[reputation.Category]int{
	reputation.Proxy: openProxy,
	reputation.Tor:   openProxy,
	reputation.VPN:   vpnIP,
}

// reports are what the service takes reports of. The free plan includes 1,000 reports a day; a tenth is left for other
// programs that report with the same account, such as fail2ban.
func reports() reputation.Reports {
	r := reputation.Reports{Quota: []string{"900/day"}}
	for category := range attacks {
		r.Categories |= reputation.CategoriesOf(category)
	}
	return r
}

// numbers returns the service's numbers for categories, in ascending order. There are none without an attack.
func numbers(categories reputation.Categories) (ids []int) {
	for category := range categories.All() {
		ids = append(ids, attacks[category]...)
	}
	if len(ids) == 0 {
		return nil
	}
	for category := range categories.All() {
		if id, ok := beside[category]; ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// stored is the body of a 200.
type stored struct {
	Data *struct {
		IPAddress string `json:"ipAddress"`
	} `json:"data"`
}

// Report implements reputation.Reporter.
func (p *AbuseIPDB) Report(ctx context.Context, key string, i reputation.Incident) error {
	ids := numbers(i.Categories)
	if len(ids) == 0 {
		return fmt.Errorf("reporting to AbuseIPDB: %w: no category of it is %s", reputation.ErrUnsupported, i.Categories)
	}
	r := rest.Request{
		Path: []string{"report"},
		Form: url.Values{
			"ip":         {i.Addr.String()},
			"categories": {join(ids)},
			"comment":    {i.Comment[:min(len(i.Comment), reputation.MaxComment)]},
			"timestamp":  {i.At.UTC().Format(time.RFC3339)},
		},
		Header:  map[string]string{"Key": key},
		Failure: notStored,
	}
	return rest.Send(ctx, &p.Endpoint, reputation.Query{Addr: i.Addr, Key: key}, r, func(s *stored, _ *rest.Response) error {
		if s.Data == nil || !rest.SameAddr(s.Data.IPAddress, i.Addr) {
			return fmt.Errorf(`%w: "ipAddress" is not the address that was reported`, reputation.ErrBadAnswer)
		}
		return nil
	})
}

func join(ids []int) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = strconv.Itoa(id)
	}
	return strings.Join(words, ",")
}

// notStored tells the errors apart that are about one report from those about the account. The service has sent the
// former with several statuses, of which 429 and 403 mean the latter otherwise.
func notStored(resp *rest.Response, body []byte) error {
	var failure failure
	_ = json.Unmarshal(body, &failure) // of what is no JSON, the status says enough
	switch {
	case slices.ContainsFunc(failure.Errors, problem.duplicate):
		return reputation.ErrDuplicate
	case resp.Status == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: status 422%s", reputation.ErrRejected, resp.Quote(detail(body)))
	case resp.Status == http.StatusTooManyRequests && slices.ContainsFunc(failure.Errors, problem.spent):
		return untilMidnight(resp.Throttled(), time.Now())
	}
	return nil
}

// failure is the body of an error.
type failure struct {
	Errors []problem `json:"errors"`
}

type problem struct {
	Detail string `json:"detail"`
	Source struct {
		Parameter string `json:"parameter"`
	} `json:"source"`
}

// duplicate reports whether the address was reported less than 15 minutes ago.
func (p problem) duplicate() bool {
	return p.Source.Parameter == "ip" && strings.Contains(p.Detail, "once in 15 minutes")
}

// spent reports whether the day's reports are used up.
func (p problem) spent() bool { return strings.HasPrefix(p.Detail, "Daily rate limit") }

// untilMidnight lets a pause of unknown length last until the service counts anew, at 00:00 UTC.
func untilMidnight(err error, now time.Time) error {
	var throttled *reputation.ThrottledError
	if errors.As(err, &throttled) && throttled.RetryAfter <= 0 {
		now = now.UTC()
		midnight := time.Date(now.Year(), now.Month(), now.Day()+1, 0, 0, 0, 0, time.UTC)
		return &reputation.ThrottledError{RetryAfter: midnight.Sub(now)}
	}
	return err
}
