import sys

from serving.server.running import main

sys.exit(main())
