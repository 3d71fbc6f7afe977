package listformat

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// JSON is one array of strings or objects, or one object whose arrays are such.
const JSON Encoding = "json"

var jsonDocument = notation{encoding: JSON, read: readJSON} // arrays of strings need no member

// readJSON decodes one element at a time: a whole document would take
// several times its size in memory.
func readJSON(r io.Reader, f *Format, c *collector) error {
	c.unit = "entry"
	d := json.NewDecoder(r)
	number := 0
	array := func() error {
		for d.More() {
			number++
			var raw json.RawMessage
			if err := d.Decode(&raw); err != nil {
				return err
			}
			if err := addElement(raw, f.Members, number, c); err != nil {
				return err
			}
		}
		_, err := d.Token()
		return err
	}
	err := func() error {
		open, err := d.Token()
		switch {
		case err != nil:
			return err
		case open == json.Delim('['):
			return array()
		case open != json.Delim('{'):
			return refuse(ErrUnparsable, "the JSON document is neither an array nor an object")
		}
		return eachArray(d, array)
	}()
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			return refuse(ErrUnparsable,
				"more follows the JSON document: use the ndjson format for one object a line")
		}
	}
	return jsonFailure(err)
}

// eachArray calls array for each member of an object that is an array, and skips the others.
func eachArray(d *json.Decoder, array func() error) error {
	arrays := 0
	for d.More() {
		if _, err := d.Token(); err != nil { // the name
			return err
		}
		value, err := d.Token()
		switch {
		case err != nil:
			return err
		case value == json.Delim('['):
			arrays++
			err = array()
		case value == json.Delim('{'):
			err = skipObject(d)
		}
		if err != nil {
			return err
		}
	}
	if arrays == 0 {
		return refuse(ErrUnparsable, "the JSON object holds no array")
	}
	_, err := d.Token()
	return err
}

// skipObject skips the rest of an object whose first token was read.
func skipObject(d *json.Decoder) error {
	for depth := 1; depth > 0; {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return nil
}

func addElement(raw json.RawMessage, members []string, number int, c *collector) error {
	var entry *string
	if json.Unmarshal(raw, &entry) == nil && entry != nil {
		return c.add(number, []byte(strings.TrimSpace(*entry)))
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil || object == nil {
		return c.reject(number, raw, "is neither a string nor an object")
	}
	return addMembers(object, members, number, raw, c)
}

// jsonFailure distinguishes a wrong document from a failed reader.
func jsonFailure(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return refuse(ErrUnparsable, "the JSON document breaks off or is wrong at byte %d: %w",
			syntax.Offset, err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return refuse(ErrUnparsable, "the JSON document breaks off")
	}
	return err
}

// addMembers adds all entries of an object. An object without entries is wrong.
func addMembers(
	object map[string]json.RawMessage, members []string, number int, raw []byte, c *collector,
) error {
	found := false
	for _, m := range members {
		var entry *string
		if value, ok := object[m]; !ok || json.Unmarshal(value, &entry) == nil && entry == nil {
			continue // absent, or null
		}
		found = true
		if entry == nil {
			if err := c.reject(number, object[m], "is not a string"); err != nil {
				return err
			}
			continue
		}
		if err := c.add(number, []byte(strings.TrimSpace(*entry))); err != nil {
			return err
		}
	}
	if !found {
		return c.reject(number, raw, "has no member "+strings.Join(members, " or "))
	}
	return nil
}
