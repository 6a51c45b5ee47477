"""Django's command line."""

import os
import sys

from django.core.management import execute_from_command_line

from kafkahub.config import ConfigError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kafkahub.settings")
    try:
        execute_from_command_line(sys.argv)
    except ConfigError as error:
        sys.exit(f"The settings cannot be used:\n{error}")
