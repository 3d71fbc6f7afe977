// Demo runs Caddy with IP reputation on this machine, without the Internet: Caddy with
// Caddyfile.example, a small web application, and fakes of the services that it would use. Run it
// from the root of the repository:
//
//	go run ./cmd/demo
//
// DEMO_PORT and DEMO_ADMIN_PORT are the ports of the site and of Caddy's admin API, on 127.0.0.1.
// Default: 8080, 2019.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	select {} // Caddy ends the process, at Ctrl-C
}

// run starts everything and prints commands to try to out.
func run(out io.Writer) error {
	ports, err := choosePorts()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ip-reputation-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for Caddy's data: %w", err)
	}
	if err := start(ports, dir); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return explain(out, ports, dir)
}

// start starts the application, the fake services, and Caddy in front of them.
func start(ports ports, dir string) error {
	application, err := serve(http.HandlerFunc(showHeaders))
	if err != nil {
		return fmt.Errorf("starting the application: %w", err)
	}
	service, err := serve(http.HandlerFunc(answerCheck))
	if err != nil {
		return fmt.Errorf("starting the stand-in for AbuseIPDB: %w", err)
	}
	publisher, err := serve(http.FileServerFS(sampleLists))
	if err != nil {
		return fmt.Errorf("starting the publisher of lists: %w", err)
	}
	feeds, err := writeFeeds(dir, publisher)
	if err != nil {
		return err
	}
	err = startCaddy(ports, dir, map[string]string{
		"SITE_ADDRESS":     "http://" + ports.site,
		"BIND_ADDRESS":     "127.0.0.1",
		"APP_ADDRESS":      application,
		"TRUSTED_PROXIES":  "127.0.0.0/8",
		"REPUTATION_MODE":  "enforce",
		"REPUTATION_FEEDS": feeds,
		"ABUSEIPDB_URL":    "http://" + service + servicePath,
		"ABUSEIPDB_KEY":    serviceKey,
	})
	if err != nil {
		return err
	}
	return awaitReady(ports.admin)
}

// ports are the addresses for users, as host:port.
type ports struct{ site, admin string }

// choosePorts checks that the ports are free. Caddy would not report it: it may
// share a port with another process.
func choosePorts() (ports, error) {
	var chosen ports
	for _, port := range []struct {
		addr               *string
		variable, standard string
	}{
		{&chosen.site, "DEMO_PORT", "8080"},
		{&chosen.admin, "DEMO_ADMIN_PORT", "2019"},
	} {
		text := os.Getenv(port.variable)
		if text == "" {
			text = port.standard
		}
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return ports{}, fmt.Errorf("%s is %q: use the number of a port, such as %s",
				port.variable, text, port.standard)
		}
		*port.addr = net.JoinHostPort("127.0.0.1", text)
		listener, err := listen(*port.addr)
		if err != nil {
			return ports{}, fmt.Errorf("%s cannot be used (%w): choose another port, as in `make run %s=%d`",
				*port.addr, err, port.variable, min(n+1, 65535))
		}
		defer listener.Close() // until both are known to be free, so that they differ
	}
	return chosen, nil
}

// serve starts a server on a free port of this machine, which runs until the process ends. It
// returns its host:port.
func serve(handler http.Handler) (string, error) {
	listener, err := listen("127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		err := server.Serve(listener)
		fmt.Fprintln(os.Stderr, "demo: a server ended:", err)
	}()
	return listener.Addr().String(), nil
}

func listen(addr string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
}
