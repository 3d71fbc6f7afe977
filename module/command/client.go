package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/adminapi"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/postgres"
)

// console holds the flags that all commands share: where the admin API is, and how answers are shown.
type console struct {
	address, config, adapter string
	json                     bool

	// migrateTables is postgres.Migrate, except in tests.
	migrateTables func(ctx context.Context, dsn, command string) ([]postgres.Migration, error)
}

// maxAnswer bounds how many bytes of an answer are read. The longest answers are lists of 100,000 bans.
const maxAnswer = 128 << 20

// show sends a request to the admin API and prints the answer, as JSON or as a page.
func show[T any](c *console, cmd *cobra.Command, method, path string, body any, human func(*page, T)) error {
	raw, err := c.call(method, path, body)
	if err != nil {
		return err
	}
	answer, err := decode[T](raw)
	if err != nil {
		return err
	}
	return c.print(cmd, json.RawMessage(raw), func(p *page) { human(p, answer) })
}

// get sends a GET to the admin API and decodes the answer.
func get[T any](c *console, path string) (T, error) {
	raw, err := c.call(http.MethodGet, path, nil)
	if err != nil {
		var none T
		return none, err
	}
	return decode[T](raw)
}

// print prints JSON with --json, a page otherwise.
func (c *console) print(cmd *cobra.Command, answer any, human func(*page)) error {
	if !c.json {
		p := newPage(cmd.OutOrStdout(), pageWidth(cmd.OutOrStdout()))
		human(p)
		return p.flush()
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return fmt.Errorf("printing the answer: %w", err)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), escapeJSON(string(text)))
	return err
}

// call sends a request to the admin API and returns the answer.
func (c *console) call(method, path string, body any) ([]byte, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(c.address, nil, c.config, c.adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the address of the admin API: %w", err)
	}
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("writing the request: %w", err)
		}
		sent = bytes.NewReader(text)
	}
	request := func() (*http.Response, error) {
		return caddycmd.AdminAPIRequest(address, method, adminapi.Path+path, nil, sent)
	}
	resp, err := request()
	// A reload of Caddy breaks the connections that the API has not accepted yet. GET and DELETE may be sent again.
	for again := 0; again < 3 && method != http.MethodPost && connectionBroke(err); again++ {
		resp, err = request()
	}
	if err != nil {
		return nil, explainError(address, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of the admin API at %s: %w", address, err)
	}
	return text, nil
}

// connectionBroke reports whether there was a connection, but no answer.
func connectionBroke(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error() // Caddy's client keeps no more of it
	return strings.HasSuffix(text, syscall.ECONNRESET.Error()) || strings.HasSuffix(text, syscall.EPIPE.Error()) ||
		strings.HasSuffix(text, io.EOF.Error())
}

// explainError turns an error of Caddy's admin client into one sentence. Such an error has no type: its text holds
// either the status and the body of an answer, or why there was no answer.
func explainError(address string, err error) error {
	_, answer, answered := strings.Cut(err.Error(), "caddy responded with error: ")
	if !answered {
		return fmt.Errorf("is Caddy running? its admin API is expected at %s and does not answer: "+
			"use --address or --config if it is elsewhere (%s)", address, clean(err.Error()))
	}
	status, body, _ := strings.Cut(answer, ": ")
	var problem struct {
		Error string `json:"error"`
	}
	if json.Unmarshal([]byte(body), &problem) != nil || problem.Error == "" {
		return fmt.Errorf("what answers at %s is not the admin API of a Caddy with ip_reputation (%s): "+
			"use --address or --config", address, clean(status))
	}
	return errors.New(clean(problem.Error))
}

func decode[T any](raw []byte) (v T, err error) {
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, fmt.Errorf("the admin API answered in a way that this program does not know; "+
			"is the running Caddy of another version? %w", err)
	}
	return v, nil
}
