package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// entry is what the sidecar keeps of a record, as a Go program would.
type entry struct {
	value     []byte
	offset    int64
	timestamp int64
	partition int32
}

type consumed struct {
	Records int64   `json:"records"`
	Entries int     `json:"entries"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"records_per_s"`
}

// consume reads until each partition's next offset has reached the high watermark that was
// asked for at the beginning. The last record's offset is enough for that here: the topics
// of this benchmark hold no transactions, and their last segment is never compacted.
func consume(ctx context.Context, args []string) (any, error) {
	var servers, topic string
	var partitionBytes int
	options("consume", args, func(f *flag.FlagSet) {
		f.StringVar(&servers, "servers", "127.0.0.1:9092", "bootstrap server")
		f.StringVar(&topic, "topic", "bench", "topic")
		f.IntVar(&partitionBytes, "partition-bytes", 1<<20, "most bytes of a partition in one fetch (franz-go's default: 1 MiB)")
	})
	begun := time.Now()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(servers), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxPartitionBytes(int32(partitionBytes)),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	missing, err := targets(ctx, client, topic)
	if err != nil {
		return nil, err
	}
	table := map[string]entry{}
	records, err := fold(ctx, client, missing, table)
	if err != nil {
		return nil, err
	}
	took := time.Since(begun).Seconds()
	return consumed{records, len(table), took, float64(records) / took}, nil
}

// targets are the high watermarks of the partitions that hold anything.
func targets(ctx context.Context, client *kgo.Client, topic string) (map[int32]int64, error) {
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	missing := map[int32]int64{}
	for partition, end := range ends[topic] {
		if end.Err != nil {
			return nil, end.Err
		}
		if end.Offset > 0 {
			missing[partition] = end.Offset
		}
	}
	return missing, nil
}

func fold(ctx context.Context, client *kgo.Client, missing map[int32]int64, table map[string]entry) (int64, error) {
	var records int64
	for len(missing) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return 0, err
		}
		for _, failed := range fetches.Errors() {
			return 0, fmt.Errorf("partition %d: %w", failed.Partition, failed.Err)
		}
		fetches.EachPartition(func(fetched kgo.FetchTopicPartition) {
			for _, record := range fetched.Records {
				if record.Value == nil {
					delete(table, string(record.Key))
				} else {
					table[string(record.Key)] = entry{
						record.Value, record.Offset, record.Timestamp.UnixMilli(), record.Partition}
				}
			}
			count := len(fetched.Records)
			records += int64(count)
			if count > 0 && fetched.Records[count-1].Offset+1 >= missing[fetched.Partition] {
				delete(missing, fetched.Partition)
			}
		})
	}
	return records, nil
}
