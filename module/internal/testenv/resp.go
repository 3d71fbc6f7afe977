package testenv

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// answerTime is how long a healthy server may take to answer.
const answerTime = 2 * time.Second

// replyError is an error that Redis answers, such as "NOAUTH Authentication required.".
type replyError string

func (e replyError) Error() string { return string(e) }

// ask sends one command on a new connection and returns the answer: one element, or those of an
// array. Nested arrays are flattened. Missing elements are "".
func ask(addr string, secure *tls.Config, command ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	conn, err := dial(ctx, addr, secure)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	if err := writeCommand(conn, command...); err != nil {
		return nil, err
	}
	return readValue(bufio.NewReader(conn))
}

func dial(ctx context.Context, addr string, secure *tls.Config) (net.Conn, error) {
	if secure != nil {
		return (&tls.Dialer{Config: secure}).DialContext(ctx, network(addr), addr)
	}
	return new(net.Dialer).DialContext(ctx, network(addr), addr)
}

func writeCommand(w io.Writer, command ...string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// readValue reads one value of RESP2, a command or an answer. An error of Redis is a replyError.
func readValue(r *bufio.Reader) ([]string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return nil, errors.New("an empty line is no RESP")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+', ':':
		return []string{rest}, nil
	case '-':
		return nil, replyError(rest)
	case '$', '*':
		n, err := strconv.Atoi(rest)
		if err != nil || n > 1<<20 {
			return nil, fmt.Errorf("%q is no length in RESP", rest)
		}
		if kind == '$' {
			return readString(r, n)
		}
		return readArray(r, n)
	}
	return nil, fmt.Errorf("%q is no RESP2", line)
}

func readString(r io.Reader, n int) ([]string, error) {
	if n < 0 { // it is null
		return []string{""}, nil
	}
	text := make([]byte, n+len("\r\n"))
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, err
	}
	return []string{string(text[:n])}, nil
}

func readArray(r *bufio.Reader, n int) ([]string, error) {
	all := []string{}
	for range n {
		one, err := readValue(r)
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
	}
	return all, nil
}
