package listformat

import (
	"bufio"
	"bytes"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/jsonstream"
)

// Onionoo is the document about relays of the service of that name, which the Tor project runs. The
// entries are the addresses of relays that run and are exits: the questioner asks for exits only.
//
// Their IPv4 addresses are those that the project has seen traffic leave from, and those at which
// the relays are reached. Nobody measures IPv6: the address at which a relay is reached counts if the
// relay's policy lets traffic leave by IPv6.
const Onionoo Encoding = "onionoo"

var onionoo = notation{encoding: Onionoo, check: checkText, read: readOnionoo}

// isOnionoo recognises the document by a member near its beginning.
func isOnionoo(start []byte) bool {
	start = start[:min(len(start), sniffed)]
	return bytes.HasPrefix(start, []byte("{")) && bytes.Contains(start, []byte(`"relays_published"`))
}

func readOnionoo(r *bufio.Reader, _ *Format, c *collector) error {
	c.unit = "relay"
	d := relayList{c: c}
	d.scan.Reset(r)
	relays := false
	err := d.object(func(name []byte) error {
		switch string(name) {
		case "relays":
			relays = true
			return d.array(d.relay)
		case "relays_published":
			text, _, err := d.scan.Scalar()
			if at, ok := parseDate(string(text)); ok {
				c.publish(at)
			}
			return err
		}
		return d.scan.Skip()
	})
	if err == nil && !relays {
		return refuse(ErrUnparsable, "the JSON document has no member relays")
	}
	return endOf(&d.scan, err)
}

// relayList reads relays one by one.
type relayList struct {
	scan   jsonstream.Reader
	c      *collector
	number int
	now    torRelay
}

// torRelay is what is read of one relay.
type torRelay struct {
	several         // its addresses
	running, exits6 bool
}

// maxRelayAddresses bounds the addresses of one relay.
const maxRelayAddresses = 256

func (d *relayList) relay() error {
	d.number++
	r := &d.now
	r.running, r.exits6 = false, false
	err := d.object(func(name []byte) error {
		switch string(name) {
		case "running":
			value, _, err := d.scan.Scalar()
			r.running = string(value) == "true"
			return err
		case "exit_addresses":
			return d.array(func() error { return d.address(ParsePrefix) })
		case "or_addresses":
			return d.array(func() error { return d.address(parseWithPorts) })
		case "exit_policy_v6_summary":
			return d.policy6()
		}
		return d.scan.Skip()
	})
	if err != nil {
		return err
	}
	if !r.running {
		r.prefixes, r.why = r.prefixes[:0], ""
		d.c.skip()
		return nil
	}
	kept := r.prefixes[:0]
	for _, p := range r.prefixes {
		if p.Addr().Is4() || r.exits6 {
			kept = append(kept, p)
		}
	}
	r.prefixes = kept
	return d.c.addAll(d.number, nil, &r.several)
}

// object and array read a value that may be null instead.
func (d *relayList) object(member func(name []byte) error) error {
	if b, err := d.scan.Peek(); err != nil {
		return err
	} else if b == 'n' {
		return d.scan.Skip()
	}
	return d.scan.Object(member)
}

func (d *relayList) array(element func() error) error {
	if b, err := d.scan.Peek(); err != nil {
		return err
	} else if b == 'n' {
		return d.scan.Skip()
	}
	return d.scan.Array(element)
}

// address reads an address of the relay.
func (d *relayList) address(parse func([]byte) (netip.Prefix, bool)) error {
	text, isString, err := d.scan.Scalar()
	if err != nil {
		return err
	}
	p, ok := parse(text)
	switch r := &d.now; {
	case !isString || !ok:
		r.why = "has an address that is none"
	case len(r.prefixes) == maxRelayAddresses:
		r.why = "has too many addresses"
	default:
		r.add(p, "")
	}
	return nil
}

// policy6 reads which ports may be reached by IPv6: those of accept, or all but those of reject.
func (d *relayList) policy6() error {
	return d.object(func(name []byte) error {
		accepts := string(name) == "accept"
		if !accepts && string(name) != "reject" {
			return d.scan.Skip()
		}
		d.now.exits6 = !accepts
		return d.array(func() error {
			ports, _, err := d.scan.Scalar()
			if accepts {
				d.now.exits6 = true
			} else if string(ports) == "1-65535" {
				d.now.exits6 = false
			}
			return err
		})
	})
}

// parseWithPorts reads 192.0.2.1:443 or [2001:db8::1]:443,9001.
func parseWithPorts(b []byte) (netip.Prefix, bool) {
	colon := bytes.LastIndexByte(b, ':')
	if colon < 0 || len(bytes.Trim(b[colon+1:], "0123456789,")) > 0 {
		return netip.Prefix{}, false
	}
	host := b[:colon]
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		p, ok := ParsePrefix(host[1 : len(host)-1])
		return p, ok && p.IsSingleIP()
	}
	p, ok := ParsePrefix(host)
	return p, ok && p.IsSingleIP() && p.Addr().Is4()
}
