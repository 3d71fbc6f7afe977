package module

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// Neighbourhood is what it costs a client that others of its network offended on your sites within a day: an offender is
// a client whose violations came to more than 10 points. It counts as the source `neighbourhood` once a site counts
// violations. The points are few, as most clients of a network have nothing to do with each other: by themselves they
// never refuse anybody, and beside other evidence they tip the scales.
//
// A network is an IPv4 /24 or an IPv6 /48. Where the autonomous system is known, four times as many of its networks with
// offenders cost all others in it a third of the points. It costs nothing behind relays, whose users are ordinary
// visitors, nor verified bots and exempt addresses.
type Neighbourhood struct {
	// Whether it costs nothing at all. Default: false.
	Off bool `json:"off,omitempty"`

	// From how many offenders on the others of their network have points, 2 to 7. No client is its own neighbour.
	// Default: 3.
	From int `json:"from,omitempty"`

	// What eight offenders and more cost their neighbours; fewer cost an eighth each. Above 0, at most 20: with 20, they
	// alone give a score of 50. Default: 10, a score of 9.
	Points float64 `json:"points,omitempty"`

	// Whether it costs clients of mobile carriers something, too. Carriers put thousands of subscribers behind few
	// addresses, and hand those on by the minute: a neighbour there is anybody. A database or a service must say which
	// addresses are mobile. Default: false.
	Mobile bool `json:"mobile,omitempty"`
}

const (
	defaultNearbyFrom   = 3
	defaultNearbyPoints = 10
)

// Check reports what is wrong with the settings.
func (n *Neighbourhood) Check() error {
	_, err := n.settings()
	return err
}

// settings returns the settings with their defaults, or nil if neighbours do not count.
func (n *Neighbourhood) settings() (*violation.NearbySettings, error) {
	if n == nil {
		n = new(Neighbourhood)
	}
	if n.Off {
		if n.From != 0 || n.Points != 0 || n.Mobile {
			return nil, errors.New("neighbourhood is off and has settings: remove one of both")
		}
		return nil, nil
	}
	s := &violation.NearbySettings{
		From: cmp.Or(n.From, defaultNearbyFrom), Points: cmp.Or(n.Points, defaultNearbyPoints), Mobile: n.Mobile,
	}
	switch {
	case s.From < 2 || s.From > violation.MaxNearbyFrom:
		return nil, fmt.Errorf("neighbourhood from %d is out of range: use 2 to %d offenders",
			s.From, violation.MaxNearbyFrom)
	case !(s.Points > 0 && s.Points <= violation.MaxNearbyPoints):
		return nil, fmt.Errorf("neighbourhood points %v is out of range: use more than 0 and at most %d, "+
			"or `neighbourhood off`", s.Points, violation.MaxNearbyPoints)
	}
	return s, nil
}
