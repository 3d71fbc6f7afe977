package lists

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/policy"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/process"
)

// asnList is a list of autonomous systems, as a condition asks for it.
type asnList struct {
	lists  *Set
	number uint16
}

// Has implements policy.ASNSet. Lists that have ended have nothing.
func (l asnList) Has(asn uint32) bool {
	return slices.Contains(l.lists.Current().Named(asn, ""), l.number)
}

// ASNNames are the names of the lists of autonomous systems, sorted.
func (l *Lists) ASNNames() []string { return slices.Sorted(maps.Keys(l.asns)) }

// ASNList returns the list that a condition names: one of the app's lists, or a file, which is opened and
// watched. Sites call it while they are provisioned.
func (l *Lists) ASNList(name string) (policy.ASNSet, error) {
	if err := CheckASNList(name, l.ASNNames()); err != nil {
		return nil, err
	}
	if !isPath(name) {
		return asnList{l.Set, l.asns[name]}, nil
	}
	spec := asnFile(name)
	if !process.Booting() {
		if err := feed.CheckFile(spec); err != nil {
			return nil, fmt.Errorf("%w: check the path, and that the user Caddy runs as may read it", err)
		}
	}
	file, err := l.options.open("asns "+spec.Name, []feed.Spec{spec}, nil)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(l.files, file) {
		l.files = append(l.files, file)
	}
	return asnList{file, 0}, nil
}

// CheckASNList returns an error if a condition cannot name such a list. known are the names of the app's lists
// of autonomous systems. Files are not opened.
func CheckASNList(name string, known []string) error {
	switch {
	case isPath(name), slices.Contains(known, name):
		return nil
	case len(known) == 0:
		return errors.New("write a number such as 64496, or the path of a file with one number a line; " +
			"there is no feed and no other list of `format asn` that could have this name")
	}
	return fmt.Errorf("write a number such as 64496, the path of a file with one number a line, or the name of a list: %s",
		strings.Join(known, ", "))
}

// isPath tells a path from the name of a list.
func isPath(word string) bool { return strings.Contains(filepath.ToSlash(word), "/") }

// asnFile is the list in a file that a condition names. It has no other name, so that it gets one of its path.
func asnFile(path string) feed.Spec {
	sum := sha256.Sum256([]byte(path))
	name := "asn_" + hex.EncodeToString(sum[:4])
	return feed.Spec{Name: name, File: path, ASNs: true, Own: true, AllowEmpty: true}
}
