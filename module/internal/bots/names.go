package bots

import "strings"

// nameMatches reports whether a host name, in lower case and without its last dot, is of a pattern: see Bot.Names.
func nameMatches(pattern, name string) bool {
	before, after, found := strings.Cut(pattern, "*")
	if !found || len(name) <= len(before)+len(after) ||
		!strings.HasPrefix(name, before) || !strings.HasSuffix(name, after) {
		return false
	}
	star := name[len(before) : len(name)-len(after)]
	return before == "" && !strings.HasPrefix(star, ".") || !strings.Contains(star, ".")
}

// hostName returns a name from DNS in lower case and without its last dot. It refuses what is no host name: letters
// outside of ASCII must not look like others.
func hostName(name string) (string, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "" || len(name) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", false
		}
	}
	for _, c := range []byte(name) {
		if !isWord(c) && c != '-' && c != '_' && c != '.' {
			return "", false
		}
	}
	return name, true
}

// namesOf returns those of the names that are names of the bot, a few at most.
func (b *Bot) namesOf(names []string) (own []string) {
	for _, raw := range names {
		name, ok := hostName(raw)
		if !ok {
			continue
		}
		for _, pattern := range b.Names {
			if nameMatches(pattern, name) {
				own = append(own, name)
				break
			}
		}
		if len(own) == maxNames {
			break
		}
	}
	return own
}
