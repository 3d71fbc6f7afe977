package listformat

import (
	"bufio"
	"bytes"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/address"
)

// Nginx are lines of nginx's configuration: "deny <address>;", or all of them "allow" or
// "set_real_ip_from", and "<address> <value>;" of a `geo` block.
const Nginx Encoding = "nginx"

var nginx = notation{encoding: Nginx, check: checkText, read: readNginx, looks: looksLikeNginx}

// verb is what a configuration does with the addresses of a list. A list has no exceptions, so that
// all its lines must do the same.
type verb uint8

const (
	denies verb = iota + 1
	allows
	trusts
	maps
)

// is reports whether to is what the list does. The first one decides.
func (v *verb) is(to verb) bool {
	if *v == 0 {
		*v = to
	}
	return *v == to
}

const (
	isNoDirective = "is not understood"
	isException   = "does not do what the first line does, and a list has no exceptions"
	isUnended     = "does not end with a semicolon"
)

// exception judges a line that does something else than the list. In a list that denies it takes somebody
// out, and is wrong. Where lines that allow come first, they may be the exceptions from those that
// deny, and nothing is known of the list.
func (c *collector) exception(number int, line []byte, v, to verb) error {
	if v == allows && to == denies {
		return refuse(ErrUnparsable, "line %d denies, and lines before it allow: a list has no exceptions; take the "+
			"lines out that are not meant", number)
	}
	return c.reject(number, line, isException)
}

// all judges a line for everybody. At the end of a list it is about those who are not on it.
func (c *collector) all(number int, line []byte, v *verb, to verb) error {
	if *v == 0 || *v == to {
		return c.reject(number, line, "is about everybody")
	}
	c.skip()
	return nil
}

var nginxVerbs = map[string]verb{"deny": denies, "allow": allows, "set_real_ip_from": trusts}

func looksLikeNginx(_ *collector, line []byte) bool {
	line, _, _ = bytes.Cut(line, []byte("#"))
	line = bytes.TrimRight(line, " \t")
	first, rest := cutField(line)
	if string(first) == "geo" && bytes.HasSuffix(line, []byte("{")) {
		return true
	}
	statement, ok := bytes.CutSuffix(rest, []byte(";"))
	switch {
	case !ok || len(bytes.TrimSpace(statement)) == 0:
		return false
	case nginxVerbs[string(first)] != 0:
		return true
	}
	_, isRange := dashedRange(first)
	return bytes.IndexByte(statement, ';') < 0 && (isAddress(first) || isRange)
}

type nginxList struct {
	c     *collector
	verb  verb
	value []byte // of a geo block
}

func readNginx(r *bufio.Reader, _ *Format, c *collector) error {
	l := nginxList{c: c}
	return c.eachLine(r, l.line)
}

func (l *nginxList) line(number int, line []byte) error {
	text, _, _ := bytes.Cut(line, []byte("#"))
	text = bytes.TrimSpace(text)
	first, rest := cutField(text)
	switch {
	case string(text) == "}", string(first) == "geo" && bytes.HasSuffix(text, []byte("{")):
		return nil
	case !bytes.HasSuffix(text, []byte(";")):
		return l.c.reject(number, line, isUnended)
	}
	value, more := cutField(bytes.TrimSpace(rest[:max(len(rest)-1, 0)]))
	if len(more) > 0 || bytes.IndexByte(value, ';') >= 0 {
		return l.c.reject(number, line, "has more than one statement, or a statement of more than two words")
	}
	to, isVerb := nginxVerbs[string(first)]
	switch {
	case isVerb && string(value) == "all":
		return l.c.all(number, line, &l.verb, to)
	case isVerb && string(value) == "unix:":
		l.c.skip()
		return nil
	case isVerb:
		if !l.verb.is(to) {
			return l.c.exception(number, line, l.verb, to)
		}
		return l.c.add(number, value)
	}
	switch string(first) {
	case "default", "ranges;", "proxy", "proxy_recursive;", "real_ip_header", "real_ip_recursive":
		return nil
	}
	return l.mapped(number, line, first, value)
}

// mapped takes a line of a geo block. 0 and "" stand for those that are not on the list.
func (l *nginxList) mapped(number int, line, entry, value []byte) error {
	r, isRange := dashedRange(entry)
	switch {
	case !isRange && !isAddress(entry):
		return l.c.reject(number, line, isNoDirective)
	case len(value) == 0:
		return l.c.reject(number, line, "has no value")
	case string(value) == "0" || string(value) == `""`:
		l.c.skip()
		return nil
	case l.value == nil:
		l.value = bytes.Clone(value)
	}
	switch {
	case !l.verb.is(maps):
		return l.c.reject(number, line, isException)
	case !bytes.Equal(value, l.value):
		return l.c.reject(number, line, "has another value than the first line")
	case isRange:
		return l.c.addRange(number, line, r, nil)
	}
	return l.c.add(number, entry)
}

// dashedRange reads A-B.
func dashedRange(entry []byte) (r address.Range, ok bool) {
	from, to, ok := bytes.Cut(entry, []byte("-"))
	if !ok {
		return r, false
	}
	return rangeOf(from, to)
}
