// Package postgres keeps the history in PostgreSQL.
package postgres
