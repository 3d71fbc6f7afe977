package api

import (
	_ "embed" // the document
	"net/http"
)

// Document is the OpenAPI 3.1 description of the API, served at /openapi.json.
//
//go:embed openapi.json
var Document []byte

var documentTag = strongTag(Document)

// openAPI answers GET /openapi.json.
func (h *Handler) openAPI(*request) (response, error) {
	return response{
		status: http.StatusOK, contentType: "application/json", cache: "public, max-age=3600",
		etag: documentTag, body: Document,
	}, nil
}

// health answers GET /v1/health.
func (h *Handler) health(q *request) (response, error) {
	res := response{
		status: http.StatusOK, contentType: "application/health+json", cache: cacheNone,
		body: []byte(`{"status":"pass"}`),
	}
	if !h.o.Backend.Ready(q.Request) {
		res.status, res.body = http.StatusServiceUnavailable, []byte(`{"status":"fail"}`)
	}
	return res, nil
}
