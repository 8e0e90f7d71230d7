from clinic_agent.tools import *
