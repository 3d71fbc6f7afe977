package caddyfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHalfUnderstoodLines proves that a configuration whose own list has a line that is understood in part only is
// refused with the file, the line and what to write.
func TestHalfUnderstoodLines(t *testing.T) {
	provisionInTemp(t)
	for line, cure := range map[string]string{
		"203.0.113.9 - 203.0.113.1":    "write the lower address first",
		"203.0.113.1 203.0.113.9":      "write one address or CIDR a line",
		"10.0.0.0 255.0.0.0":           "write 10.0.0.0/8",
		"80.94.92.0\t80.94.92.255\t24": "write one address or CIDR a line",
		"198.51.100.7, 198.51.100.8":   "write one address or CIDR a line",
		"198.51.100.0 /24":             "write it as in 203.0.113.0/24",
		"198.51.100.7 scanner":         "begin a comment with #",
		"203.0.113.7/3":                "/8 and, in IPv6, /16 are the widest",
		"0.0.0.0/0":                    "/8 and, in IPv6, /16 are the widest",
		"203.0.113.7/24":               "write 203.0.113.7 for the address, or 203.0.113.0/24 for the range",
	} {
		for _, option := range []string{"deny", "exempt"} {
			file := filepath.Join(t.TempDir(), "own.txt")
			if err := os.WriteFile(file, []byte("# ours\n192.0.2.1 # one\n"+line+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			config, err := adapt(fmt.Appendf(nil, "{\n\tip_reputation {\n\t\t%s %s\n\t}\n}\n", option, file))
			if err != nil {
				t.Fatal(err)
			}
			err = validate(t, config)
			for _, want := range []string{file, fmt.Sprintf("line 3: %q ", line), cure} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s %q: %v, want %q", option, line, err, want)
				}
			}
		}
	}
}
