package dnsbl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

const (
	systemFile     = "/etc/resolv.conf"
	systemFileSize = 64 << 10
	systemFileAge  = time.Minute // until it is read again

	maxResolvers   = 4
	maxStrays      = 16 // datagrams that answer another question, before the resolver is given up
	usualTime      = 2 * time.Second
	udpSize        = 1232 // that no network fragments
	defaultDNSPort = 53
)

// resolvers are asked one after the other until one answers.
type resolvers struct {
	named []netip.AddrPort // none: those of the system

	mu     sync.Mutex
	system []netip.AddrPort
	readAt time.Time
}

// parseResolver reads an address with or without a port. A name would need a resolver itself.
func parseResolver(text string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(addr, defaultDNSPort), nil
	}
	if at, err := netip.ParseAddrPort(text); err == nil && at.Port() != 0 {
		return at, nil
	}
	return netip.AddrPort{}, fmt.Errorf("resolver %q is no address: use one such as 127.0.0.1, 127.0.0.1:5353 or "+
		"[::1]:53", text)
}

// list returns the resolvers to ask. The system's may change while Caddy runs, with the network.
func (r *resolvers) list(now time.Time) ([]netip.AddrPort, error) {
	if len(r.named) > 0 {
		return r.named, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.system) > 0 && now.Sub(r.readAt).Abs() < systemFileAge {
		return r.system, nil
	}
	found, err := readSystem(systemFile)
	if err != nil {
		return nil, fmt.Errorf("finding the system's resolvers: %w: name one by `resolver`", err)
	}
	r.system, r.readAt = found, now
	return found, nil
}

func readSystem(path string) ([]netip.AddrPort, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, systemFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > systemFileSize { // its last line may be a part of one
		return nil, fmt.Errorf("%s has more than %d bytes", path, systemFileSize)
	}
	config, err := dns.ClientConfigFromReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var found []netip.AddrPort
	for _, server := range config.Servers {
		if at, err := parseResolver(server); err == nil && len(found) < maxResolvers {
			found = append(found, at)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no nameserver", path)
	}
	return found, nil
}

// ask asks for the addresses of a name. After a resolver without a good answer, the next one is asked: one may lie, or
// be refused, where another is not. A single one is asked again only if it is silent, since datagrams get lost. A code
// that check refuses is no good answer, either.
func (r *resolvers) ask(ctx context.Context, name string, check func([]code) error) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, err
	}
	servers, err := r.list(time.Now())
	if err != nil {
		return answer{}, err
	}
	question := new(dns.Msg)
	question.SetQuestion(name, dns.TypeA)
	question.SetEdns0(udpSize, false)
	deadline, limited := ctx.Deadline()
	if !limited {
		deadline = time.Now().Add(usualTime)
	}
	attempts := max(len(servers), 2)
	for i := range attempts {
		server := servers[i%len(servers)]
		share := time.Until(deadline) / time.Duration(attempts-i)
		m, failed := exchange(ctx, server, question, time.Now().Add(share))
		silent := failed != nil && !errors.Is(failed, reputation.ErrBadAnswer)
		var a answer
		if failed == nil {
			a, failed = read(m, name)
		}
		if failed == nil {
			failed = check(a.codes)
		}
		switch _, throttled := errors.AsType[*reputation.ThrottledError](failed); {
		case failed == nil:
			return a, nil
		case ctx.Err() != nil:
			return answer{}, fmt.Errorf("asking the resolver %s: %w", server, ctx.Err())
		case throttled || len(servers) == 1 && !silent:
			return answer{}, failed
		}
		err = failed
	}
	return answer{}, err
}

// exchange asks one resolver, by TCP where the answer does not fit into a datagram.
func exchange(ctx context.Context, server netip.AddrPort, question *dns.Msg, deadline time.Time) (*dns.Msg, error) {
	m, err := exchangeOver(ctx, "udp", server, question, deadline)
	if err == nil && m.Truncated {
		m, err = exchangeOver(ctx, "tcp", server, question, deadline)
		if err == nil && m.Truncated {
			err = fmt.Errorf("%w: it is cut off", reputation.ErrBadAnswer)
		}
	}
	switch {
	case err == nil:
		return m, nil
	case errors.Is(err, reputation.ErrBadAnswer):
		return nil, err
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("the resolver %s does not answer in time: see whether this machine reaches it, "+
			"or name another by `resolver`: %w", server, context.DeadlineExceeded)
	}
	return nil, fmt.Errorf("the resolver %s cannot be asked: %w", server, withoutAddresses(err))
}

// exchangeOver uses a connection of its own, and so a port that nobody can guess.
func exchangeOver(
	ctx context.Context, network string, server netip.AddrPort, question *dns.Msg, deadline time.Time,
) (*dns.Msg, error) {
	dialer := net.Dialer{Deadline: deadline}
	conn, err := dialer.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	c := &dns.Conn{Conn: conn, UDPSize: maxMessage + 1}
	question = question.Copy()
	question.Id = dns.Id()
	if err := c.WriteMsg(question); err != nil {
		return nil, err
	}
	for range maxStrays {
		raw, err := c.ReadMsgHeader(nil)
		if err != nil && !errors.Is(err, dns.ErrShortRead) {
			return nil, err
		}
		m, ours, err := unpack(raw, question)
		switch {
		case err != nil:
			return nil, err
		case ours:
			return m, nil
		case network == "tcp":
			return nil, fmt.Errorf("%w: it is about another question", reputation.ErrBadAnswer)
		}
	}
	return nil, fmt.Errorf("%w: all that comes is about other questions", reputation.ErrBadAnswer)
}

// withoutAddresses returns the cause of a network error, which repeats both ends of the connection.
func withoutAddresses(err error) error {
	if failed, ok := errors.AsType[*net.OpError](err); ok {
		return failed.Err
	}
	return errors.New(strings.TrimSpace(err.Error()))
}
