package listformat

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
)

// NDJSON has one JSON object a line. Lines with "type":"metadata" and
// without the members are skipped.
const NDJSON Encoding = "ndjson"

var ndjson = notation{encoding: NDJSON, check: checkNDJSON, read: readNDJSON}

func checkNDJSON(f *Format) error {
	if len(f.Members) == 0 {
		return errors.New("name the JSON member that holds the address")
	}
	return nil
}

func readNDJSON(r io.Reader, f *Format, c *collector) error {
	return EachLine(r, func(number int, line []byte) error {
		if line == nil {
			return c.reject(number, nil, "is a line that is too long")
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			return nil
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(line, &object); err != nil {
			return c.reject(number, line, "is not a JSON object")
		}
		if string(object["type"]) == `"metadata"` && !hasAny(object, f.Members) {
			return nil
		}
		return addMembers(object, f.Members, number, line, c)
	})
}

func hasAny(object map[string]json.RawMessage, members []string) bool {
	return slices.ContainsFunc(members, func(m string) bool { return object[m] != nil })
}
