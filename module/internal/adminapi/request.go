package adminapi

import (
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/ban"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/history"
)

// Request answers GET requests/{id}. It has a Decision, or what the history has of the request.
type Request struct {
	RequestID string            `json:"request_id"`
	Decision  *RequestDecision  `json:"decision,omitempty"`
	History   *history.Requests `json:"history,omitempty"`
}

// RequestDecision is what was decided about a request that was limited, blocked or dropped, or would have been.
type RequestDecision struct {
	At        time.Time `json:"at"`
	Address   string    `json:"address,omitempty"` // as `privacy` writes it
	Host      string    `json:"host"`
	Action    string    `json:"action"`
	Mode      string    `json:"mode"`
	Rule      int       `json:"rule,omitempty"`  // its number; 0 where no rule decided
	DecidedBy string    `json:"decided_by"`      // in words
	Lists     string    `json:"lists,omitempty"` // the deny lists that held the address
	Score     *uint8    `json:"score,omitempty"`
	Status    string    `json:"status"`
	Coverage  float64   `json:"coverage"`
	Reasons   []Reason  `json:"reasons"`

	// Bans are those that hold the address now.
	Bans []ban.Entry `json:"bans"`
}
