package testenv

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// MMDB is a database in the MaxMind DB format.
type MMDB struct {
	// Type is what it says of itself. Default: "Test".
	Type string

	// Built is when it was made, in seconds since 1970. Default: in 2026.
	Built int64

	// Version is 4 for a file without IPv6. Default: 6.
	Version int

	// RecordSize is 24, 28 or 32. Default: 28.
	RecordSize int

	// Networks are its records. A later one replaces a part of an earlier one.
	Networks []Network
}

// Network is a prefix with its record: maps, slices, strings, booleans, float64, int for an int32 and
// uint for a uint32.
type Network struct {
	Prefix string
	Record any
}

// Bytes returns the file.
func (m MMDB) Bytes(tb testing.TB) []byte {
	tb.Helper()
	o := mmdbwriter.Options{
		DatabaseType: "Test", BuildEpoch: 1_790_000_000, IPVersion: m.Version, RecordSize: m.RecordSize,
		Description: map[string]string{"en": "for tests"}, IncludeReservedNetworks: true,
	}
	if m.Type != "" {
		o.DatabaseType = m.Type
	}
	if m.Built != 0 {
		o.BuildEpoch = m.Built
	}
	tree, err := mmdbwriter.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	for _, n := range m.Networks {
		_, network, err := net.ParseCIDR(n.Prefix)
		if err == nil {
			err = tree.Insert(network, mmdbValue(n.Record))
		}
		if err != nil {
			tb.Fatalf("%s: %v", n.Prefix, err)
		}
	}
	var file bytes.Buffer
	if _, err := tree.WriteTo(&file); err != nil {
		tb.Fatal(err)
	}
	return file.Bytes()
}

func mmdbValue(v any) mmdbtype.DataType {
	switch v := v.(type) {
	case string:
		return mmdbtype.String(v)
	case bool:
		return mmdbtype.Bool(v)
	case float64:
		return mmdbtype.Float64(v)
	case int:
		return mmdbtype.Int32(v)
	case uint:
		return mmdbtype.Uint32(v)
	case []any:
		var slice mmdbtype.Slice
		for _, element := range v {
			slice = append(slice, mmdbValue(element))
		}
		return slice
	case map[string]any:
		fields := make(mmdbtype.Map, len(v))
		for name, field := range v {
			fields[mmdbtype.String(name)] = mmdbValue(field)
		}
		return fields
	}
	panic(fmt.Sprintf("testenv: a database cannot hold a %T", v))
}
