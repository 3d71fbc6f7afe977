package postgres

import (
	"context"
	"net/netip"
	"strconv"
	"testing"
	"time"
)

// BenchmarkWrite stores batches of 10,000 decisions about many addresses, over one connection. -benchtime 100x is a million.
func BenchmarkWrite(b *testing.B) {
	const size = 10000
	dsn := database(b)
	db := open(b, dsn)
	awaitUp(b, db)
	batch := batchOf(0, time.Now(), size)
	for i := range b.N {
		b.StopTimer()
		batch.ID[15], batch.ID[14], batch.ID[13] = byte(i), byte(i>>8), byte(i>>16)
		for j := range batch.Decisions {
			n := uint32(i*size+j) * 2654435761 // spread over the index, as addresses are
			batch.Decisions[j].Address = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), 32)
			batch.Decisions[j].RequestID = "0af7651916cd43dd" + strconv.FormatUint(uint64(n)|1<<60, 16)
		}
		b.StartTimer()
		if _, err := db.Write(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "rows/s")
}
