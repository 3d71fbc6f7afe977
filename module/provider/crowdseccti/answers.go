package crowdseccti

import (
	"errors"
	"net/netip"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// answers are what the service knows of several addresses, or its message that it knows none.
type answers struct {
	Message string `json:"message"`

	NotFound *int                 `json:"not_found"` // how many addresses it has never seen, but not which
	Items    rest.Entries[answer] `json:"items"`
}

// setter stores what the service says of an address: see rest.Answers.
type setter func(addr string, r reputation.Report, err error)

// notFound sets what a 404 means: that the service has never seen any of the addresses, if it says
// so.
func (v *answers) notFound(addrs []netip.Addr, set setter) error {
	err := (&answer{Message: v.Message}).notFound()
	if !errors.Is(err, reputation.ErrUnknown) {
		return err
	}
	for _, addr := range addrs {
		set(addr.String(), reputation.Report{}, err)
	}
	return nil
}

// report sets what the service says of each address. An address that has no item is unknown if the
// service counts exactly so many as not found, and otherwise nothing is known of it.
func (v *answers) report(addrs []netip.Addr, set setter) {
	missing := make(map[netip.Addr]bool, len(addrs))
	for _, addr := range addrs {
		missing[addr] = true
	}
	strangers := false
	for _, item := range v.Items {
		addr, invalid := netip.ParseAddr(item.Value.IP)
		addr = addr.Unmap()
		if invalid != nil || !missing[addr] {
			strangers = true // or one twice
		}
		delete(missing, addr)
		r, err := reputation.Report{}, item.Err
		if err == nil {
			r, err = item.Value.report(addr)
		}
		set(item.Value.IP, r, err)
	}
	if strangers || v.NotFound == nil || *v.NotFound != len(missing) {
		return
	}
	for addr := range missing {
		set(addr.String(), reputation.Report{}, reputation.ErrUnknown)
	}
}
