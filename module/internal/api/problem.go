package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// problem is an RFC 9457 problem. Its detail is for the client: it contains no internal details.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      string `json:"code"` // a word from the list in docs/api.md
	RequestID string `json:"request_id"`

	retryAfter time.Duration
	challenge  string // the value of WWW-Authenticate
}

// Error implements error.
func (p *problem) Error() string { return p.Detail }

func newProblem(status int, code, detail string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

// Problems without parameters.
var (
	errEarly    = newProblem(http.StatusTooEarly, "too_early", "the handshake is not complete: send the request again")
	errNotFound = newProblem(http.StatusNotFound, "not_found", "nothing is at this path: /openapi.json lists what there is")
)

func internal() *problem {
	return newProblem(http.StatusInternalServerError, "internal",
		"the server failed: its operator finds why in the log, by the request_id")
}

func badRequest(detail string) *problem {
	return newProblem(http.StatusBadRequest, "invalid_request", detail)
}

func tooMany(retryAfter time.Duration) *problem {
	p := newProblem(http.StatusTooManyRequests, "too_many_requests", "the limit is reached: wait as long as Retry-After says")
	p.retryAfter = max(retryAfter, time.Second)
	return p
}

func unavailable(code, detail string, retryAfter time.Duration) *problem {
	p := newProblem(http.StatusServiceUnavailable, code, detail)
	p.retryAfter = retryAfter
	return p
}

// problem returns the response to a request for a problem.
func (h *Handler) problem(q *request, p *problem) response {
	res := *p
	res.RequestID = q.id
	if res.retryAfter > 0 {
		seconds := int((res.retryAfter + time.Second - 1) / time.Second)
		q.header.Set("Retry-After", strconv.Itoa(seconds))
	}
	if res.challenge != "" {
		q.header.Set("WWW-Authenticate", res.challenge)
	}
	body, err := json.Marshal(res)
	if err != nil {
		body = []byte("{}") // unreachable: every problem has a JSON form
	}
	return response{status: res.Status, contentType: "application/problem+json", cache: "no-store", body: body}
}
