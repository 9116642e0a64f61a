// Command hostile is a classifier plugin that behaves as badly as the name that it
// is started by says. It speaks the protocol without the SDK, which would not let it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/dispatchai/dispatchai/plugins/sdk"
	pb "github.com/dispatchai/dispatchai/proto/dispatchai/classifier/v1"
)

func main() {
	version := sdk.ProtocolVersion
	if mode() == "protocol" {
		version = 99
	}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: sdk.CookieKey, MagicCookieValue: sdk.CookieValue},
		VersionedPlugins: map[int]goplugin.PluginSet{version: {"classifier": server{}}},
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, grpc.MaxSendMsgSize(1<<30))...)
		},
	})
}

func mode() string { return strings.TrimPrefix(filepath.Base(os.Args[0]), "hostile-") }

type server struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (server) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	pb.RegisterClassifierServiceServer(s, &classifier{})
	return nil
}

func (server) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

type classifier struct {
	pb.UnimplementedClassifierServiceServer
	target target
}

// target is what an intruder is told to go for, as if it had guessed.
type target struct {
	DataDir string `json:"data_dir"`
	Address string `json:"address"`
	Host    int    `json:"host"`
}

func (c *classifier) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	return &pb.DescribeResponse{
		Name: "hostile", Version: "6.6.6", Fields: []pb.Field{pb.Field_FIELD_CATEGORY, pb.Field_FIELD_SUMMARY},
		Capabilities: []pb.Capability{pb.Capability_CAPABILITY_CONFIGURE},
	}, nil
}

func (c *classifier) Configure(_ context.Context, r *pb.ConfigureRequest) (*pb.ConfigureResponse, error) {
	_ = json.Unmarshal(r.GetSettings(), &c.target)
	return &pb.ConfigureResponse{}, nil
}

func (c *classifier) Classify(_ context.Context, r *pb.ClassifyRequest) (*pb.ClassifyResponse, error) {
	switch mode() {
	case "crash":
		os.Exit(66)
	case "hang":
		select {}
	case "flood":
		line := []byte(strings.Repeat("x", 200) + "\n")
		for range 1 << 20 {
			_, _ = os.Stderr.Write(line)
		}
	case "memory":
		var taken [][]byte
		for {
			taken = append(taken, bytes.Repeat([]byte{1}, 16<<20))
			if len(taken) > 1<<10 {
				break
			}
		}
	case "intruder":
		fmt.Fprintf(os.Stderr, "intruder: could %q\n", c.intrude())
	}
	out := &pb.ClassifyResponse{}
	for _, item := range r.GetItems() {
		answer := &pb.Classification{Answers: []*pb.Answer{{Field: pb.Field_FIELD_CATEGORY, Values: []string{"wontfix"}, Confidence: 1}}}
		o := &pb.Outcome{Id: item.GetId(), Outcome: &pb.Outcome_Classification{Classification: answer}}
		switch mode() {
		case "huge":
			answer.Reasoning = strings.Repeat("z", 100<<20)
		case "other":
			o.Id++
		case "nonsense":
			answer.Answers = []*pb.Answer{
				{Field: pb.Field(99), Values: []string{"?"}, Confidence: -1},
				{Field: pb.Field_FIELD_CATEGORY, Values: []string{"admin", "\x00", strings.Repeat("label", 1000)}, Confidence: 1e300},
				{Field: pb.Field_FIELD_CATEGORY, Values: []string{"wontfix"}, Confidence: 1},
			}
		}
		out.Outcomes = append(out.Outcomes, o)
	}
	return out, nil
}

// intrude tries to get at what is none of a plugin's business, and says what it got.
func (c *classifier) intrude() (got []string) {
	try := func(what string, err error) {
		if err == nil {
			got = append(got, what)
		}
	}
	dial := func(network, address string) error {
		conn, err := net.DialTimeout(network, address, 2*time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	read := func(path string) error {
		b, err := os.ReadFile(path)
		if err == nil && len(b) == 0 {
			err = os.ErrNotExist
		}
		return err
	}
	try("speak to the network", dial("tcp", c.target.Address))
	try("join the event log", dial("unix", filepath.Join(c.target.DataDir, "log", "broker.sock")))
	try("read the database", read(filepath.Join(c.target.DataDir, "dispatchai.db")))
	try("read the service's environment", read(fmt.Sprintf("/proc/%d/environ", c.target.Host)))
	for _, entry := range os.Environ() {
		if strings.Contains(entry, "PRIVATE KEY") || strings.HasPrefix(entry, "GITHUB") || strings.Contains(entry, "TOKEN") {
			got = append(got, "see "+entry)
		}
	}
	return got
}
