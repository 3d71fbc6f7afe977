package dnsbl

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// answer is a valid answer of a list: the codes that it gives an address, none if it is not listed.
type answer struct {
	codes []code
	ttl   time.Duration
}

const (
	maxMessage = 4096 // bytes of an answer, of which the longest that makes sense has a tenth
	maxCodes   = 32   // lists have two dozen codes at most

	// How long an answer is used, whatever its publisher says. The settings of the provider may shorten it.
	minTTL = 5 * time.Minute
	maxTTL = 24 * time.Hour
)

// errServerFailure means that a resolver got no answer itself.
var errServerFailure = errors.New("the resolver got no answer from the list (SERVFAIL): the list is down, " +
	"or it refuses your key or your resolver")

// refusalError is a reputation.ErrRefused. It does not name a key, which few lists have.
type refusalError string

func (e refusalError) Error() string { return string(e) }
func (refusalError) Unwrap() error   { return reputation.ErrRefused }

// unpack reads a message that answers the question. Anything else is not ours.
func unpack(raw []byte, question *dns.Msg) (m *dns.Msg, ours bool, err error) {
	if len(raw) < 2 || uint16(raw[0])<<8|uint16(raw[1]) != question.Id {
		return nil, false, nil
	}
	if len(raw) > maxMessage {
		return nil, true, fmt.Errorf("%w: it has more than %d bytes", reputation.ErrBadAnswer, maxMessage)
	}
	m = new(dns.Msg)
	if err := m.Unpack(raw); err != nil {
		return nil, true, fmt.Errorf("%w: it is no DNS message", reputation.ErrBadAnswer)
	}
	asked := question.Question[0]
	ours = m.Response && m.Opcode == dns.OpcodeQuery && len(m.Question) == 1 &&
		strings.EqualFold(m.Question[0].Name, asked.Name) &&
		m.Question[0].Qtype == asked.Qtype && m.Question[0].Qclass == asked.Qclass
	return m, ours, nil
}

// read returns what a message says about the name that was asked for.
func read(m *dns.Msg, name string) (answer, error) {
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
	case dns.RcodeServerFailure:
		return answer{}, errServerFailure
	case dns.RcodeRefused:
		return answer{}, refusalError("the resolver refuses to answer (REFUSED): let this machine use it, " +
			"or name another by `resolver`")
	default:
		return answer{}, fmt.Errorf("%w: its status is %s", reputation.ErrBadAnswer, dns.RcodeToString[m.Rcode])
	}
	a := answer{ttl: maxTTL}
	for _, record := range m.Answer {
		switch r := record.(type) {
		case *dns.RRSIG: // nobody asked for it, and it changes nothing
			continue
		case *dns.A:
			if !strings.EqualFold(r.Hdr.Name, name) || r.Hdr.Class != dns.ClassINET || len(r.A.To4()) != 4 {
				return answer{}, fmt.Errorf("%w: it has an address of another name", reputation.ErrBadAnswer)
			}
			a.codes = append(a.codes, code(r.A.To4()))
			a.ttl = min(a.ttl, seconds(r.Hdr.Ttl))
		default:
			return answer{}, fmt.Errorf("%w: it has a record that is no address, such as an alias", reputation.ErrBadAnswer)
		}
		if len(a.codes) > maxCodes {
			return answer{}, fmt.Errorf("%w: it has more than %d addresses", reputation.ErrBadAnswer, maxCodes)
		}
	}
	switch listed := len(a.codes) > 0; {
	case listed && m.Rcode == dns.RcodeNameError:
		return answer{}, fmt.Errorf("%w: it has addresses of a name that it says does not exist", reputation.ErrBadAnswer)
	case !listed && m.Rcode == dns.RcodeSuccess:
		return answer{}, fmt.Errorf("%w: it has no address, and does not say that the name does not exist: "+
			"the resolver filters names, or the list is no DNS list", reputation.ErrBadAnswer)
	case !listed:
		var err error
		if a.ttl, err = negativeTTL(m.Ns, name); err != nil {
			return answer{}, err
		}
	}
	a.ttl = min(max(a.ttl, minTTL), maxTTL)
	return a, checkRange(a.codes)
}

// negativeTTL returns how long the name does not exist (RFC 2308), or zero if that is not said.
func negativeTTL(authority []dns.RR, name string) (time.Duration, error) {
	for _, record := range authority {
		soa, ok := record.(*dns.SOA)
		switch {
		case !ok:
			continue
		case !dns.IsSubDomain(soa.Hdr.Name, name):
			return 0, fmt.Errorf("%w: another zone says that the name does not exist", reputation.ErrBadAnswer)
		case dns.CountLabel(soa.Hdr.Name) < 2:
			return 0, fmt.Errorf("%w: there is no zone of that name: see whether the list still exists", reputation.ErrBadAnswer)
		}
		return seconds(min(soa.Hdr.Ttl, soa.Minttl)), nil
	}
	return 0, nil
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// refusals are the codes by which Spamhaus, and others after it, say why they do not answer.
var refusals = map[byte]string{
	250: "the key is disabled: see your account",
	251: "the key is not accepted, or another account uses it: see your account",
	252: "the name of the zone is wrong: correct it",
	254: "it was asked by a public resolver, as clouds have them: name a resolver of your own by `resolver`; " +
		"with a key for Spamhaus (`provider dnsbl dqs`), any resolver will do",
}

// checkRange returns an error for an address that no list answers with.
func checkRange(codes []code) error {
	for _, c := range codes {
		if c[0] != 127 {
			return fmt.Errorf("%w: it is an address outside 127.0.0.0/8: the resolver invents answers for names "+
				"that do not exist, so name one of your own by `resolver`; or the list has ended", reputation.ErrBadAnswer)
		}
	}
	return nil
}

// check returns an error if the list refuses to answer by a code.
func (l *list) check(codes []code) error {
	if l.read != nil {
		return nil // they are numbers, and any may come
	}
	return checkCodes(codes)
}

// checkCodes returns an error if a code is no listing.
func checkCodes(codes []code) error {
	for _, c := range codes {
		switch {
		case c == code{127, 255, 255, 255}:
			return fmt.Errorf("the list was asked too often (127.255.255.255): set a lower `rate`, or get a plan: %w",
				new(reputation.ThrottledError))
		case c[1] == 255 && c[2] == 255:
			why := refusals[c[3]]
			if why == "" {
				why = "see what the list's pages say of this code"
			}
			return refusalError(fmt.Sprintf("the list refuses with 127.255.255.%d: %s", c[3], why))
		case c == std(1) || c == std(0):
			return fmt.Errorf("%w: 127.0.0.%d is no listing: the list, or the resolver, refuses to answer so",
				reputation.ErrBadAnswer, c[3])
		}
	}
	return nil
}
