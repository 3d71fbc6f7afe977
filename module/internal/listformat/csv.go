package listformat

import (
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
)

// CSV has a header line that names the columns. Lines that begin with "#" are comments.
const CSV Encoding = "csv"

var csvTable = notation{encoding: CSV, check: checkCSV, read: readCSV}

func checkCSV(f *Format) error {
	if len(f.Members) != 1 {
		return errors.New("name the one CSV column that holds the address")
	}
	return nil
}

func readCSV(r io.Reader, f *Format, c *collector) error {
	column := f.Members[0]
	rows := csv.NewReader(r)
	rows.Comment = '#'
	rows.FieldsPerRecord = -1
	rows.LazyQuotes = true
	rows.ReuseRecord = true
	rows.TrimLeadingSpace = true
	header, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if wrong := (*csv.ParseError)(nil); errors.As(err, &wrong) {
		return refuse(ErrUnparsable, "the header line is not CSV: %w", err)
	}
	if err != nil {
		return err
	}
	at := slices.IndexFunc(header,
		func(h string) bool { return strings.EqualFold(strings.TrimSpace(h), column) })
	if at < 0 {
		return refuse(ErrUnparsable, "no CSV column is named %q; the header line is %.200q", column,
			c.redact(strings.Join(header, ",")))
	}
	for {
		row, err := rows.Read()
		var wrong *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &wrong):
			if err := c.reject(wrong.Line, nil, "is not CSV"); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		number, _ := rows.FieldPos(0)
		if at >= len(row) {
			err = c.reject(number, []byte(strings.Join(row, ",")), "lacks the column "+column)
		} else {
			err = c.add(number, []byte(strings.TrimSpace(row[at])))
		}
		if err != nil {
			return err
		}
	}
}
