package health

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/clients"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history/recorder"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/mmdb"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/quota"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/secret"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/sentry"
)

// State is the state of an instance at one moment: the statuses of its parts.
type State struct {
	Unused     bool   // no site uses the app
	Sites      *Sites // nil: there is no HTTP app
	Rules      []Rule // that can never hold
	Bans       Bans
	Clients    Clients
	Folder     Folder
	Unwritten  []Unwritten // the earliest first
	Providers  []quota.Status
	Keys       []Key
	Lists      []List
	Bots       *Bots // nil: none are verified
	Databases  []mmdb.Status
	Redis      *redis.Status  // nil: the instance is on its own
	LocalShare float64        // the share of each quota that is used while Redis is away
	History    *History       // nil: there is none
	Memory     *Memory        // nil: there is no provider, so that nothing is cached
	Violations *Violations    // nil: none are counted
	Sentry     *sentry.Status // nil: errors go to the log only
}

// Clients says whether client addresses seem to be those of the visitors.
type Clients struct {
	clients.Finding
	Chosen []string // the servers whose visitors can choose their address
	Pseudo bool     // a proxy has handed on pseudo IPv4 addresses
}

// Folder is the data folder. The zero value is in order.
type Folder struct {
	Path    string
	Since   time.Time // since when the following is so
	Owner   string    // another process that uses the folder, so that this one works from memory
	Problem string    // why it cannot be locked
}

// Unwritten is a file of the data folder that cannot be written.
type Unwritten struct {
	Path  string
	Since time.Time
	Error string
}

// KeyState is the state of a key.
type KeyState string

// The states of a key.
const (
	KeyInUse     KeyState = "in_use"
	KeyInReserve KeyState = "in_reserve" // used when the keys before it are refused
	KeySetAside  KeyState = "set_aside"  // the service refused it
	KeyIsRefused KeyState = "refused"    // the publisher of a list refused it the last time
	KeyWaiting   KeyState = "waiting"    // for its first value
	KeyUnfit     KeyState = "unfit"      // a token of the API that is too short, and never accepted
	KeyOver      KeyState = "ended"      // a token of the API that has expired
)

// Key is a key of the provider that its status names, or another secret.
type Key struct {
	secret.Status

	State           KeyState
	NotAsked        bool      // a provider's, with which no call has ended yet
	SetAside, Retry time.Time // start and end of the pause after the service refused it
}

// List is a list of addresses.
type List struct {
	Role   string `json:"role"`              // feed, deny, exempt, bots, or asn for a file of rules
	SameAs string `json:"same_as,omitempty"` // the feed that counts in its place: both have the same contents
	feed.Status

	// Overlaps is what the list has in common with lists of addresses that it should not name. Only status looks for it.
	Overlaps []Overlap `json:"overlaps,omitempty"`
}

// Overlap is what a list has in common with one of exempt addresses or of a bot's.
type Overlap struct {
	List     string `json:"list"`
	Prefixes int    `json:"prefixes"` // in common
}

// Bots are the bots that clients can be verified to be.
type Bots struct {
	Verified int `json:"verified"` // how many there are
	Exempt   int `json:"exempt"`   // of them

	// Hijacked means that the resolver answers for names that do not exist.
	Hijacked bool `json:"hijacked,omitempty"`
}

// History is the recording of decisions and verdicts.
type History struct {
	Database postgres.Status `json:"database"`
	Recorder recorder.Status `json:"recorder"`
}

// Memory is the cache of this instance.
type Memory struct {
	Records   int    `json:"records"`
	Capacity  int    `json:"capacity"`
	Evictions uint64 `json:"evictions"` // since this memory was made
}

// Violations is what this instance remembers of violations.
type Violations struct {
	Clients   int    `json:"clients"`
	Capacity  int    `json:"capacity"`
	Evictions uint64 `json:"evictions"` // since this store was made

	LastHour map[string]int `json:"last_hour"` // how many were counted, by name
}
