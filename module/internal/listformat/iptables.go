package listformat

import (
	"bufio"
	"bytes"
)

// IPTables is what `iptables-save` writes. Entries are the sources of rules that drop or reject all
// that comes from them: "-A <chain> -s <address> -j DROP". Rules without a source list nobody.
const IPTables Encoding = "iptables"

var iptables = notation{encoding: IPTables, check: checkText, read: readIPTables, looks: looksLikeIPTables}

func looksLikeIPTables(_ *collector, line []byte) bool {
	return isIPTablesFrame(line) ||
		bytes.HasPrefix(withoutCounters(line), []byte("-A ")) && bytes.Contains(line, []byte(" -j "))
}

// isIPTablesFrame recognises lines that are no rules: a table, a chain, or the end.
func isIPTablesFrame(line []byte) bool {
	switch string(line) {
	case "*filter", "*nat", "*mangle", "*raw", "*security", "COMMIT":
		return true
	}
	return line[0] == ':' && bytes.HasSuffix(line, []byte("]")) && bytes.Contains(line, []byte(" ["))
}

func readIPTables(r *bufio.Reader, _ *Format, c *collector) error {
	var sources several
	return c.eachLine(r, func(number int, line []byte) error {
		rule := withoutCounters(line)
		command, rest := cutField(rule)
		switch {
		case isIPTablesFrame(line), string(command) == "-N", string(command) == "-P":
			return nil
		case string(command) != "-A" && string(command) != "-I":
			return c.reject(number, line, "is no line of `iptables-save`")
		}
		chain, rest := cutField(rest)
		source, target, why := readRule(rest)
		switch {
		case source == nil:
			c.skip()
			return nil
		case why != "":
			return c.reject(number, line, why)
		case string(chain) == "OUTPUT" || string(chain) == "POSTROUTING":
			return c.reject(number, line, "is about what this machine sends")
		case string(target) != "DROP" && string(target) != "REJECT":
			return c.reject(number, line, "neither drops nor rejects")
		}
		for more := true; more; {
			var entry []byte
			entry, source, more = bytes.Cut(source, []byte(","))
			sources.add(c.understand(entry))
		}
		return c.addAll(number, line, &sources)
	})
}

// withoutCounters removes the packet counters of `iptables-save -c`.
func withoutCounters(line []byte) []byte {
	if end := bytes.Index(line, []byte("] ")); line[0] == '[' && end > 0 {
		return line[end+2:]
	}
	return line
}

// readRule returns the source of a rule, nil if it has none, and its target. It says why the rule is
// not about everything from this source.
func readRule(rest []byte) (source, target []byte, why string) {
	for {
		var option, value []byte
		option, rest = cutField(rest)
		switch string(option) {
		case "":
			return source, target, why
		case "-s", "--source", "--src":
			if source != nil {
				why = "has two sources"
			}
			if source, rest = cutField(rest); source == nil {
				source = []byte{} // it breaks off
			}
		case "-j", "--jump":
			if target != nil {
				why = "has two targets"
			}
			target, rest = cutField(rest)
		case "--reject-with":
			_, rest = cutField(rest)
		case "-m", "--match":
			if value, rest = cutField(rest); string(value) != "comment" {
				why = "has further conditions"
			}
		case "--comment":
			var ok bool
			if rest, ok = skipQuoted(rest); !ok {
				return source, target, "has a comment that does not end"
			}
		default: // a condition, or `!`
			why = "has further conditions"
		}
	}
}
