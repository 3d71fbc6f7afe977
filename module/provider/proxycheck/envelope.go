package proxycheck

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/provider/rest"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// The statuses of an answer without addresses.
const denied, failed = "denied", "error"

// head is what every answer begins with. With the status "warning" the answer is complete.
type head struct {
	Status  string `json:"status"` // ok, warning, denied, error
	Message string `json:"message"`
}

// envelope is the whole answer: a head, and a member for each address, which the service may spell otherwise than
// the question did.
type envelope[T answer] struct {
	head
	members rest.Members[T]
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *envelope[T]) UnmarshalJSON(text []byte) error {
	if err := json.Unmarshal(text, &v.head); err != nil {
		return err //nolint:wrapcheck // rest.Decode words it
	}
	return json.Unmarshal(text, &v.members) //nolint:wrapcheck // rest.Decode words it
}

// about returns what the answer says of addr.
func (v *envelope[T]) about(addr netip.Addr, resp *rest.Response) (T, error) {
	var found *rest.Member[T]
	for i := range v.members {
		switch m := &v.members[i]; {
		case !rest.SameAddr(m.Name, addr):
		case found != nil:
			return found.Value, fmt.Errorf("%w: it has the address twice", reputation.ErrBadAnswer)
		default:
			found = m
		}
	}
	if found == nil {
		return *new(T), v.refusal(resp)
	}
	return found.Value, found.Err
}

// refusal returns the error that an answer without an address is.
func (h *head) refusal(resp *rest.Response) error {
	if h.Status != denied {
		return fmt.Errorf("%w: it is not about the address%s", reputation.ErrBadAnswer, resp.Quote(h.Message))
	}
	text := strings.ToLower(h.Message)
	for _, words := range []string{"exhausted", "per second", "allowance", "query limit"} {
		if strings.Contains(text, words) {
			return fmt.Errorf("%w%s", resp.Throttled(), resp.Quote(h.Message))
		}
	}
	return fmt.Errorf("%w%s", reputation.ErrRefused, resp.Quote(h.Message))
}

// failure reads the body that comes with another status than 200.
func failure(resp *rest.Response, body []byte) error {
	var h head
	if rest.Decode(body, &h) == nil && h.Status == denied {
		return h.refusal(resp)
	}
	return nil // not a refusal of the service's own kind
}
